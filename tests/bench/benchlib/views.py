# SPDX-License-Identifier: BSD-3-Clause
"""Kernel views beside the kernel's own filesystems for persistent memory, in turns on one emulated NVDIMM.

The guest of tests/vm is emulated, so times are of use in ratios of neighbours only; counts are what
they are on any machine. One more boot counts instructions.
"""

import json
import pathlib
import re
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
ROWS = re.findall(r'^\t\{ "([^"]+)", \w+, (?:true|false) \}',
                  (ROOT / "tests/bench/views/work.c").read_text(), re.M)
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
        self.operations = 200 if quick else 3000


class _Counting(vm.Guest):
    """Its clock is the number of instructions: each takes a nanosecond. With one CPU none spins for another."""

    def __init__(self, *how):
        super().__init__(*how, cpus=1)

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


def _requests(guest, way):
    """How many requests the daemon has served, and questions it has answered."""
    if way not in (VIEW, PLAIN):
        return 0, 0
    said = guest.run("daxfuse status --prometheus /mnt | grep _duration_seconds_count || true")
    status = json.loads(guest.run("daxfuse status /mnt"))
    return (sum(int(line.split()[-1]) for line in said.splitlines()),
            status.get("views", {}).get("questions", 0))


def _row(guest, way, name, scale):
    before = _requests(guest, way)
    done = json.loads(guest.run(f"bench-views '{name}' /mnt/file {scale.mib} {scale.operations}"))
    after = _requests(guest, way)
    done["requests"], done["questions"] = (b - a for a, b in zip(before, after))
    return done


def _turn(guest, way, scale):
    guest.run(MOUNT[way] + f"""
        dd if=/dev/zero of=/mnt/file bs=2M count={scale.mib // 2} status=none; sync""")
    rows = {name: _row(guest, way, name, scale) for name in ROWS}
    nothing = rows["nothing"]
    opening, counting = nothing["requests"], nothing["busy"]  # mapping, and asking for the counts, too
    for row in rows.values():
        row["requests"] = max(row["requests"] - opening, 0)
        row["busy"] -= counting
    guest.run("rm /mnt/file; " + UNMOUNT[way])
    return rows


def _boot(kind, folder, modules):
    guest = kind(folder, folder / "nvdimm.img", folder / "payload.tar")
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
        vm.make_nvdimm(folder / "nvdimm.img", 512)
        modules = [MODULE, *(f"/daxfuse/{path.name}" for path in xfs)]
        with _boot(vm.Guest, folder, modules) as guest:
            turns = [{way: _turn(guest, way, scale) for way in WAYS} for _ in range(scale.rounds)]
            kernel = guest.run("uname -r").strip()
        with _boot(_Counting, folder, modules) as guest:
            counted = {way: _turn(guest, way, scale) for way in WAYS}
    return {"kernel": kernel, "mib": scale.mib, "operations": scale.operations, "turns": turns,
            "counted": counted}


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


def _instructions(figures):
    rows = []
    for name in ROWS[1:]:
        view, plain, *others = (counted[name]["busy"] / counted[name]["operations"]
                                for counted in (figures["counted"][way] for way in WAYS))
        rows.append([name, *(tables.number(count) for count in (view, plain, *others)),
                     tables.number(min(others) / view), tables.number(plain / view)])
    return tables.table(["", *WAYS, f"better of ext4, xfs / {VIEW}", f"{PLAIN} / {VIEW}"], rows)


def report(figures, described):
    """docs/bench/views.md."""
    machine_line = described.split(" The pool is DRAM")[0]
    return f"""# Kernel views

{machine_line} The figures are of a guest on that machine, emulated without KVM: Linux {figures['kernel']}, an NVDIMM of
512 MiB. Made by `tests/bench/run views`, in one boot; the ways take turns, {len(figures['turns'])} of each. A file of
{figures['mib']} MiB; {figures['operations']:,} operations where a row has single ones.

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
file has more than 2 MiB when it is opened. An append asks a question once in 2 MiB.

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
