# SPDX-License-Identifier: BSD-3-Clause
"""A guest's files through a DAX window, beside the same without one: in turns, in one boot.

The guest of tests/vm is emulated, so times are of use in ratios of neighbours only.
"""

import contextlib
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from . import tables

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/vm"))
import guest as vm  # noqa: E402  (needs the path above)

WINDOW, CACHE = "with a window", "without"
OPTIONS = {WINDOW: "dax=always", CACHE: "dax=never"}
# fio's engine, --rw and block size
ROWS = {"mmap, random read and write, 4 KiB": ("mmap", "randrw", "4k"),
        "mmap, read in order, 4 KiB": ("mmap", "read", "4k"),
        "mmap, write in order, 4 KiB": ("mmap", "write", "4k"),
        "random read, 4 KiB": ("psync", "randread", "4k"),
        "random write, 4 KiB": ("psync", "randwrite", "4k"),
        "sequential read, 1 MiB": ("psync", "read", "1M"),
        "sequential write, 1 MiB": ("psync", "write", "1M")}
READY = 60  # seconds


class Scale:
    """How much each row does."""

    def __init__(self, quick):
        self.rounds = 1 if quick else 3
        self.mib = 8 if quick else 64
        self.rows = list(ROWS)[:2] if quick else list(ROWS)


@contextlib.contextmanager
def _pool(build, folder, mib):
    """Mounted and exported: a function that runs our programs, the mount point, and the socket."""
    def run(program, *words):
        return subprocess.run([build / "bin" / program, *map(str, words)], check=True, text=True,
                              stdout=subprocess.PIPE).stdout

    image, point, path = folder / "pool", folder / "mnt", folder / "socket"
    with open(image, "wb") as file:
        file.truncate((4 * mib + 64) << 20)
    point.mkdir()
    run("mkfs.daxfuse", "-q", image)
    run("daxfuse", image, point)
    try:
        run("daxfuse", "export", "--socket", path, "--tag", "pool", "--window", "256M", point)
        yield run, point, path
        run("daxfuse", "export", "--remove", "--socket", path, point)
    finally:
        run("daxfuse", "umount", "--wait", point)


def _requests(run, point):
    [export] = json.loads(run("daxfuse", "status", point))["exports"]
    return export["requests"]


def _row(guest, name, mib, requests):
    """MB/s of reads and writes together, of a file that the guest has no page of."""
    engine, kind, size = ROWS[name]
    guest.run("umount /run/pool; mount -t virtiofs -o $(cat /run/options) pool /run/pool")
    before = requests()
    job = json.loads(guest.run(
        f"cd /run/pool; fio --name=job --filename=file --ioengine={engine} --rw={kind} --bs={size} --size={mib}m "
        "--randrepeat=1 --end_fsync=1 --output-format=json --fallocate=none"))["jobs"][0]
    return {"rate": sum(job[side]["bw_bytes"] for side in ("read", "write")) / 1e6, "faults": job["minf"] + job["majf"],
            "requests": requests() - before}


def _turn(guest, way, scale, requests):
    guest.run(f"echo {OPTIONS[way]} > /run/options; mount -t virtiofs -o {OPTIONS[way]} pool /run/pool\n"
              f"dd if=/dev/zero of=/run/pool/file bs=1M count={scale.mib} status=none")
    rows = {name: _row(guest, name, scale.mib, requests) for name in scale.rows}
    guest.run("rm /run/pool/file; umount /run/pool")
    return rows


def measure(build, memory, quick, _files):
    """All figures, by way and row."""
    scale = Scale(quick)
    with tempfile.TemporaryDirectory(prefix="daxfuse-bench-") as name:
        folder = pathlib.Path(name)
        vm.make_payload(folder / "payload.tar", [])
        with (_pool(build, memory, scale.mib) as (run, point, path),
              vm.Guest(folder, None, folder / "payload.tar", exports={"pool": path}, windows=True) as guest):
            guest.run("mkdir /run/pool")
            turns = [{way: _turn(guest, way, scale, lambda: _requests(run, point)) for way in OPTIONS}
                     for _ in range(scale.rounds)]
            kernel = guest.run("uname -r").strip()
            guest.kill()
            _wait_until_let_go(run, point)
    return {"kernel": kernel, "mib": scale.mib, "turns": turns}


def _wait_until_let_go(run, point):
    end = time.monotonic() + READY
    while time.monotonic() < end:
        [export] = json.loads(run("daxfuse", "status", point))["exports"]
        if not export["window"]["units"]:
            return
        time.sleep(0.1)


# ---- report -----------------------------------------------------------------------------------


def _median(figures, way, row, key):
    return statistics.median(turn[way][row][key] for turn in figures["turns"])


def _ratio(figures, row):
    found = sorted(turn[WINDOW][row]["rate"] / turn[CACHE][row]["rate"] for turn in figures["turns"])
    return (f"{tables.number(statistics.median(found))} "
            f"({tables.number(found[0])} to {tables.number(found[-1])})")


def _rows(figures):
    return figures["turns"][0][WINDOW]


def _speed(figures):
    return tables.table(["", f"{WINDOW}, MB/s", f"{CACHE}, MB/s", "times"],
                        [[row, *(tables.number(_median(figures, way, row, "rate")) for way in OPTIONS),
                          _ratio(figures, row)] for row in _rows(figures)])


def _counts(figures):
    return tables.table(["", f"requests {WINDOW}", CACHE, f"faults {WINDOW}", CACHE],
                        [[row, *(f"{_median(figures, way, row, key):,.0f}" for key in ("requests", "faults")
                                 for way in OPTIONS)] for row in _rows(figures)])


def report(figures, described):
    """docs/bench/guests.md."""
    machine_line = described.split(" The pool is DRAM")[0]
    return f"""# Guests with a DAX window

{machine_line} The figures are of a guest on that machine, emulated without KVM by QEMU 11.1: Linux {figures['kernel']}. Made by
`tests/bench/run guests`, in one boot; the ways take turns, {len(figures['turns'])} of each. fio on a file of {figures['mib']} MiB in a pool
in memory, each byte once, from a mount that has cached nothing; fsync at the end is in the time.

* {WINDOW}: `-o dax=always`, 256 MiB; QEMU with `contrib/qemu`
* {CACHE}: `-o dax=never`: the guest's page cache, and requests

**Times are not those of real machines**: the guest's instructions are emulated, what the daemon and the host's kernel do is not.
So look at the ratio: the median of neighbouring turns, and the lowest and the highest.

## Speed

{_speed(figures)}
## Requests to the daemon, and page faults in the guest

{_counts(figures)}"""
