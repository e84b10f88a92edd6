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
import tempfile

from . import tables, views_aged
from .views_ways import EXT4, MOUNT, PLAIN, ROOT, UNMOUNT, VIEW, WAYS, XFS, Counting, Guests

ROWS = re.findall(r'^\t\{ "([^"]+)", \w+, [A-Z]+ \}',
                  (ROOT / "tests/bench/views/work.c").read_text(), re.M)
LARGE = "msync of one page in 1 GiB"
NVDIMM = 1536  # MiB
# A command that prints what the daemon has served, and answered, so far.
ASKED = "-- asked --\n"
ASK = f"""(daxfuse status --prometheus /mnt; daxfuse status /mnt) | grep -e _duration_seconds_count -e '"questions"'
          echo -n '{ASKED}'"""


class Scale:
    """How much each row does. Where time counts it is more: code that an emulated guest has not run yet is
    translated first."""

    def __init__(self, quick, timed):
        self.rounds = 1 if quick else 3
        self.mib = 16 if quick else 64
        self.large = 64 if quick else 1024
        self.long_operations = 200 if quick else 3000  # of LARGE
        self.operations = 20000 if timed and not quick else self.long_operations


def _answered(said):
    """How many requests the daemon has served, and questions it has answered."""
    return {"requests": sum(int(count) for count in re.findall(r"_seconds_count\S* (\d+)", said)),
            "questions": sum(int(count) for count in re.findall(r'"questions": (\d+)', said))}


def _row(guest, way, name, scale, ask):
    path, mib, operations = (("/mnt/large", scale.large, scale.long_operations) if name == LARGE else
                             ("/mnt/file", scale.mib, scale.operations))
    command = ["bench-views", name, path, str(mib), str(operations)]
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


def measure(build, _memory, quick, _files):
    """All figures, by way and row."""
    scale, counted_scale, aged_scale = Scale(quick, True), Scale(quick, False), views_aged.Scale(quick)
    with tempfile.TemporaryDirectory(prefix="daxfuse-bench-") as name:
        guests = Guests(build, pathlib.Path(name))
        with guests.boot(NVDIMM) as guest:
            turns = [{way: _turn(guest, way, scale) for way in WAYS} for _ in range(scale.rounds)]
            kernel = guest.run("uname -r").strip()
        with guests.boot(NVDIMM, Counting) as guest:
            counted = {way: _turn(guest, way, counted_scale, ask=False) for way in WAYS}
        with guests.boot(aged_scale.nvdimm) as guest:
            aged = {way: views_aged.measure(guest, way, aged_scale) for way in views_aged.WAYS}
    return {"kernel": kernel, "scale": vars(scale), "turns": turns, "counted": counted,
            "aged_scale": vars(aged_scale), "aged": aged}


# ---- report -----------------------------------------------------------------------------------


def _each(figures, way, row, key):
    return [turn[way][row][key] for turn in figures["turns"]]


def _faults(figures):
    per_gib = 1024 / figures["scale"]["mib"]
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
{figures['scale']['mib']} MiB; {figures['scale']['operations']:,} operations where a row has single ones ({figures['scale']['long_operations']:,} of msync(2), and where
instructions are counted). msync(2) is of a mapping of {figures['scale']['large']:,} MiB that has been
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
look at the file's attributes the kernel asks for its capabilities (GETXATTR): once here, in {figures['scale']['mib']} writes of 1 MiB.

## An aged pool

{views_aged.report(figures['aged'], figures['aged_scale'])}
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
