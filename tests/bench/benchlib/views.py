# SPDX-License-Identifier: BSD-3-Clause
"""Kernel views beside the kernel's own filesystems for persistent memory, in turns on one emulated NVDIMM.

The guest of tests/vm is emulated, so times are of use in ratios of neighbours only; counts are what
they are on any machine. One more boot counts instructions.
"""

import json
import pathlib
import re
import shlex
import statistics
import subprocess
import sys
import tempfile

from . import tables

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/vm"))
import guest as vm  # noqa: E402  (needs the path above)

DEVICE, MODULE = "/dev/dax0.0", "/daxfuse/daxview.ko"
VIEW, PLAIN, EXT4, XFS = "daxfuse, view", "daxfuse, no view", "ext4 -o dax", "xfs -o dax"
WAYS = (VIEW, PLAIN, EXT4, XFS)
ROWS = re.findall(r'^\t\{ "([^"]+)", \w+, [A-Z]+ \}',
                  (ROOT / "tests/bench/views/work.c").read_text(), re.M)
LARGE = "msync of one page in 1 GiB"
NVDIMM, MEMORY = 1536, 3072  # MiB; the page cache holds 1 GiB of a file, too
ASKED = "-- asked --\n"
ASK = f"""(daxfuse status --prometheus /mnt; daxfuse status /mnt) | grep -e _duration_seconds_count -e '"questions"'
          echo -n '{ASKED}'"""
DEVDAX = "ndctl create-namespace -f -e namespace0.0 -m devdax -a 2M > /dev/null\n"
FSDAX = "ndctl create-namespace -f -e namespace0.0 -m fsdax -a 2M > /dev/null\n"
MOUNT = {
    VIEW: DEVDAX + f"mkfs.daxfuse -q -f {DEVICE}; daxfuse {DEVICE} /mnt -o views=on",
    PLAIN: DEVDAX + f"mkfs.daxfuse -q -f {DEVICE}; daxfuse {DEVICE} /mnt -o views=off",
    EXT4: FSDAX + "mkfs.ext4 -q -F -b 4096 -E stride=512,stripe_width=512 /dev/pmem0\n"
                  "mount -o dax=always /dev/pmem0 /mnt",
    XFS: FSDAX + "mkfs.xfs -q -f -m reflink=0 -d su=2m,sw=1,agcount=2 -l size=64m /dev/pmem0\n"
                 "mount -o dax=always /dev/pmem0 /mnt; xfs_io -c 'extsize 2m' /mnt",
}
UNMOUNT = {VIEW: "daxfuse umount --wait /mnt", PLAIN: "daxfuse umount --wait /mnt",
           EXT4: "umount /mnt", XFS: "umount /mnt"}


class Scale:
    """How much each row does."""

    def __init__(self, quick):
        self.rounds = 1 if quick else 3
        self.mib = 16 if quick else 64
        self.large = 64 if quick else 1024
        self.operations = 200 if quick else 3000


class _Counting(vm.Guest):
    """Its clock is the number of instructions: each takes a nanosecond. With one CPU none spins for another."""

    def __init__(self, *how, **more):
        super().__init__(*how, **more, cpus=1)

    def _command(self, *how):
        words = super()._command(*how)
        words[words.index("tcg,thread=multi")] = "tcg,thread=single"
        return [*words, "-icount", "shift=0,sleep=off"]


def _xfs_modules(folder):
    """As files for the guest, in the order to be loaded."""
    cache, version = vm.cache_folder(), vm.kernel_version()
    said = subprocess.run(["modprobe", "-C", "/dev/null", "-d", cache / "kernel/usr", "-S", version,
                           "--show-depends", "xfs"], check=True, capture_output=True, text=True)
    for path in re.findall(r"^insmod (\S+)", said.stdout, re.M):
        unpacked = folder / pathlib.Path(path).name.removesuffix(".xz")
        unpacked.write_bytes(subprocess.run(["xz", "-dc", path], check=True,
                                            capture_output=True).stdout)
        yield unpacked


def _answered(said):
    """How many requests the daemon has served, and questions it has answered."""
    return {"requests": sum(int(count) for count in re.findall(r"_seconds_count\S* (\d+)", said)),
            "questions": sum(int(count) for count in re.findall(r'"questions": (\d+)', said))}


def _row(guest, way, name, scale, ask):
    path, mib = ("/mnt/large", scale.large) if name == LARGE else ("/mnt/file", scale.mib)
    command = ["bench-views", name, path, str(mib), str(scale.operations)]
    if ask and way in (VIEW, PLAIN):
        command.append(ASK)
    *asked, done = guest.run(shlex.join(command)).split(ASKED)
    before, after = map(_answered, asked or ["", ""])
    return json.loads(done) | {key: after[key] - before[key] for key in before}


def _turn(guest, way, scale, ask=True):
    guest.run(MOUNT[way] + f"""
        dd if=/dev/zero of=/mnt/file bs=2M count={scale.mib // 2} status=none
        fallocate -l {scale.large}M /mnt/large; sync""")
    if way in (VIEW, PLAIN):
        guest.run(ASK)  # looks a name up, the first time
    rows = {name: _row(guest, way, name, scale, ask) for name in ROWS}
    nothing = rows["nothing"].copy()  # but what counting takes
    for row in rows.values():
        for key in ("requests", "busy", "faults"):
            row[key] = max(row[key] - nothing[key], 0)
    guest.run("rm /mnt/file /mnt/large; " + UNMOUNT[way])
    return rows


def _boot(kind, folder, modules):
    guest = kind(folder, folder / "nvdimm.img", folder / "payload.tar", memory=MEMORY)
    guest.run("\n".join(f"insmod {path}" for path in modules))
    return guest


def measure(build, _memory, quick, _files):
    """All figures, by way and row."""
    scale = Scale(quick)
    with tempfile.TemporaryDirectory(prefix="daxfuse-bench-") as name:
        folder = pathlib.Path(name)
        subprocess.run(["cmake", "--install", build, "--prefix", folder / "usr"], check=True,
                       stdout=subprocess.DEVNULL)
        (source,) = (folder / "usr/src").glob("daxview-*")
        subprocess.run([ROOT / "tests/vm/module", source, folder / "built"], check=True)
        xfs = list(_xfs_modules(folder))
        programs = [build / "bin" / program for program in ("daxfuse", "mkfs.daxfuse")]
        vm.make_payload(folder / "payload.tar", [*programs, build / "bench/bench-views"],
                        [(folder / "built" / vm.kernel_version() / "daxview.ko", MODULE),
                         *((path, f"/daxfuse/{path.name}") for path in xfs)])
        vm.make_nvdimm(folder / "nvdimm.img", NVDIMM)
        modules = [MODULE, *(f"/daxfuse/{path.name}" for path in xfs)]
        with _boot(vm.Guest, folder, modules) as guest:
            turns = [{way: _turn(guest, way, scale) for way in WAYS} for _ in range(scale.rounds)]
            kernel = guest.run("uname -r").strip()
        with _boot(_Counting, folder, modules) as guest:
            counted = {way: _turn(guest, way, scale, ask=False) for way in WAYS}
    return {"kernel": kernel, "mib": scale.mib, "large": scale.large, "operations": scale.operations,
            "turns": turns, "counted": counted}


# ---- report -----------------------------------------------------------------------------------


def _each(figures, way, row, key):
    return [turn[way][row][key] for turn in figures["turns"]]


def _faults(figures):
    per_gib = 1024 / figures["mib"]
    rows = []
    for way in WAYS:
        cells = [round(statistics.median(_each(figures, way, row, key)) * per_gib)
                 for row in ("load", "store") for key in ("faults", "questions")]
        rows.append([way, *(tables.number(cell) if cell else "0" for cell in cells)])
    return tables.table(["", "faults: loads", "questions", "faults: stores", "questions"], rows)


def _requests_each(figures):
    rows = []
    for name in ROWS[3:]:
        cells = [statistics.median(turn[way][name]["requests"] / turn[way][name]["operations"]
                                   for turn in figures["turns"]) for way in (VIEW, PLAIN)]
        rows.append([name, *(f"{cell:.2f}" for cell in cells)])
    return tables.table(["", VIEW, PLAIN], rows)


def _rate(row):
    return row["operations"] / row["ns"]


def _ratio(figures, row, way, others):
    """How fast the way is, times the best of the others: the median of neighbours, and all of them."""
    found = sorted(_rate(turn[way][row]) / max(_rate(turn[other][row]) for other in others)
                   for turn in figures["turns"])
    return (f"{tables.number(statistics.median(found))} "
            f"({tables.number(found[0])} to {tables.number(found[-1])})")


def _ratios(figures):
    return tables.table(["", f"{VIEW} / better of ext4, xfs", f"{VIEW} / {PLAIN}"],
                        [[name, _ratio(figures, name, VIEW, (EXT4, XFS)),
                          _ratio(figures, name, VIEW, (PLAIN,))]
                         for name in ROWS[1:]])


def _count(row):
    """While all wait the clock may jump, which is no work; nor is what others do just before and after."""
    return min(row["ns"], row["busy"]) / row["operations"]


def _instructions(figures):
    rows = []
    for name in ROWS[1:]:
        view, plain, *others = (_count(figures["counted"][way][name]) for way in WAYS)
        rows.append([name, *(tables.number(count) for count in (view, plain, *others)),
                     tables.number(min(others) / view), tables.number(plain / view)])
    return tables.table(["", *WAYS, f"better of ext4, xfs / {VIEW}", f"{PLAIN} / {VIEW}"], rows)


def report(figures, described):
    """docs/bench/views.md."""
    machine_line = described.split(" The pool is DRAM")[0]
    return f"""# Kernel views

{machine_line} The figures are of a guest on that machine, emulated without KVM: Linux {figures['kernel']}, an NVDIMM of
{NVDIMM:,} MiB. Made by `tests/bench/run views`, in one boot; the ways take turns, {len(figures['turns'])} of each. A file of
{figures['mib']} MiB; {figures['operations']:,} operations where a row has single ones. msync(2) is of a mapping of {figures['large']:,} MiB that has been
stored to as a whole, and flushed, before; then one page of it is stored to each time.

* {VIEW}: `daxfuse` with the module daxview
* {PLAIN}: `-o views=off`: mappings go through the kernel's page cache
* {EXT4}, {XFS}: the same NVDIMM as /dev/pmem0, both made for units of 2 MiB (stride, su=2m, extsize 2m)

Counts are what they are on any machine. **Times are not**: instructions are emulated, a system call costs what it costs
there, and flushing lines costs nothing.

## Faults and questions for each GiB that is touched

Every 4 KiB page of a mapping that is new, in order: a byte is loaded, or stored.

{_faults(figures)}
## Requests to the daemon for each operation

{_requests_each(figures)}
[Reads](../design/views.md#reads-without-a-request) and [writes](../design/views.md#writes-without-a-request) go to the view: the
file has more than 2 MiB when it is opened. An append asks a question once in 2 MiB. Before the first write(2) that follows a
look at the file's attributes the kernel asks for its capabilities (GETXATTR): once here, in {figures['mib']} writes of 1 MiB.

## Instructions for each operation

These can be trusted: another run finds the same within some hundredths, on a busy machine, too. A boot of its own, in which the clock
of the guest is the number of instructions that it has run, with one CPU, one turn of each way. Counted is all that runs from the
first operation to the last, in the program, the kernel and the daemon, but not what waits. A load or store is one page of a
mapping that is new. In the last two columns more than 1 is fewer for the view.

{_instructions(figures)}
What they do not say: how long an instruction takes. Each counts as one, also one that misses the cache or flushes a line; but a
copy that is one instruction for the processor (`rep movsb`, as all but one of the ways read) counts each byte.

## Speed

What the emulated guest's clock said, with two CPUs, in the boot of the counts above: the rate of operations over the others', the
median of neighbouring turns, and the lowest and the highest. Above 1 the view is faster. Two CPUs run beside each other here, so
waiting for a lock or the daemon is in it; so is all else that the machine did. Where the lowest and the highest are far apart
the row says little.

{_ratios(figures)}"""
