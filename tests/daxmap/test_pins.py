# SPDX-License-Identifier: BSD-3-Clause
"""What the daemon keeps of a program's mappings ends with them."""

import json
import subprocess
import sys

import pytest

from support.pool import MIB

UNIT = 2 * MIB
SIZE = 128 * MIB


def records(pool, tool):
    return json.loads(tool("daxfuse", "status", pool.point).stdout)["mappings"]["pin_records"]


class Windows:
    """A child under `daxfuse run` that keeps one unit at the end of the file mapped, so that the
    file stays open, and maps and unmaps what it is told."""

    SCRIPT = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p] + [ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
fd = os.open(sys.argv[1], os.O_RDWR)
names = {}
for line in sys.stdin:
    command, name, offset, length = line.split()
    offset, length = int(offset), int(length)
    if command == "map":
        names[name] = libc.mmap(None, length, 3, 1, fd, offset)
        for at in range(0, length, 2 << 20):
            ctypes.c_char.from_address(names[name] + at).value = b"x"
    else:
        assert libc.munmap(names[name] + offset, length) == 0
    print("done", flush=True)
"""

    def __init__(self, bin_dir, file):
        self.child = subprocess.Popen(
            [bin_dir / "daxfuse", "run", sys.executable, "-c", self.SCRIPT, file],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.do("map", "keeper", SIZE - UNIT, UNIT)

    def do(self, *words):
        self.child.stdin.write(" ".join(map(str, words)) + "\n")
        self.child.stdin.flush()
        assert self.child.stdout.readline() == "done\n"

    def close(self):
        self.child.stdin.close()
        assert self.child.wait(30) == 0


@pytest.fixture
def windows(bin_dir, mnt):
    path = mnt / "large"
    subprocess.run(["fallocate", "-l", str(SIZE), path], check=True)
    windows = Windows(bin_dir, path)
    windows.path = path
    yield windows
    windows.close()


@pytest.mark.parametrize("step", [16, 8, -8], ids=["apart", "overlapping", "backwards"])
def test_a_window_slides(step, windows, pool, tool):
    """Records don't pile up, however windows lie over each other."""
    window, rounds = 16 * MIB, range(0, SIZE - 16 * MIB, abs(step) * MIB)
    before = records(pool, tool)
    for _ in range(3):
        last = None
        for at in rounds if step > 0 else reversed(rounds):
            windows.do("map", at, at, window)
            if last is not None:
                windows.do("unmap", last, 0, window)
            last = at
        windows.do("unmap", last, 0, window)
        assert records(pool, tool) == before


def test_a_mapping_is_taken_apart(windows, pool, tool):
    """From below, from above, and from its middle."""
    before = records(pool, tool)
    windows.do("map", "m", 0, 64 * MIB)
    for at in [0, 62, 30, 32, 28, 2, 60, 34]:
        windows.do("unmap", "m", at * MIB, UNIT)
    assert records(pool, tool) > before
    for at in [0, 40, 10]:
        windows.do("unmap", "m", at * MIB, 24 * MIB)
    windows.do("unmap", "m", 0, 64 * MIB)
    assert records(pool, tool) == before


def test_what_is_unmapped_is_not_asked_for(windows, pool, tool):
    """A part of a run that was granted in one piece is not the program's any more."""
    def asked():
        counters = json.loads(tool("daxfuse", "status", pool.point).stdout)["mappings"]["counters"]
        return counters["asked"]

    windows.do("map", "m", 0, 64 * MIB)
    windows.do("unmap", "m", 32 * MIB, 32 * MIB)
    before = asked()
    subprocess.run(["fallocate", "-p", "-o", str(48 * MIB), "-l", str(16 * MIB), windows.path],
                   check=True)
    assert asked() == before
    subprocess.run(["fallocate", "-p", "-o", str(16 * MIB), "-l", str(2 * MIB), windows.path],
                   check=True)
    assert asked() == before + 1
