# SPDX-License-Identifier: BSD-3-Clause
"""msync() on a device whose stores need a flush: what the library can't flush itself any more it
has the daemon flush. (What it flushes itself is tests/unit/daxmap/sync.c's.)"""

import json
import os
import subprocess
import sys

import pytest

from support.pool import MIB, Pool
from support.process import eventually
from support.syscalls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, fallocate

SIZE = 8 * MIB

# libpmem2 is told that tmpfs is such a device; but MAP_SYNC is not to be had there.
SHIM = r"""
#define _GNU_SOURCE
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>

long do_syscall(long number, long a, long b, long c, long d, long e, long f);
__asm__("do_syscall: mov %rdi,%rax; mov %rsi,%rdi; mov %rdx,%rsi; mov %rcx,%rdx; mov %r8,%r10;"
        "mov %r9,%r8; mov 8(%rsp),%r9; syscall; ret");
extern int *__errno_location(void);

long syscall(long number, ...)
{
    va_list args;
    long a[6], got;

    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (number == SYS_mmap)
        a[3] &= ~(long)MAP_SYNC;
    got = do_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (got >= 0 || got < -4095)
        return got;
    *__errno_location() = -got;
    return -1;
}
"""

PROGRAM = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
memory = mmap.mmap(fd, 0)
for line in sys.stdin:
    command, at = line.split()
    at = int(at)
    if command == "store":
        memory[at] = 7
    elif command == "sync":
        memory.flush(at, 2 << 20)
    print("done", flush=True)
"""


@pytest.fixture
def power(bin_dir, huge_dir, monkeypatch):
    """A pool on a device that needs flushes, as its daemon and all programs believe."""
    monkeypatch.setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE")
    pool = Pool(bin_dir, huge_dir / "daxmap-sync", size=128 * MIB)
    pool.mount("dax=always")
    yield pool
    try:
        pool.close()
    finally:
        pool.abandon()
        subprocess.run(["rm", "-rf", pool.folder], check=True)


@pytest.fixture
def child(power, bin_dir, tmp_path, monkeypatch):
    (tmp_path / "shim.c").write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", tmp_path / "shim.so", tmp_path / "shim.c"],
                   check=True)
    monkeypatch.setenv("LD_PRELOAD", str(tmp_path / "shim.so"))
    path = power.point / "file"
    path.write_bytes(b"x" * SIZE)
    child = subprocess.Popen([bin_dir / "daxfuse", "run", sys.executable, "-c", PROGRAM, path],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    monkeypatch.delenv("LD_PRELOAD")

    def do(command, at):
        child.stdin.write(f"{command} {at}\n")
        child.stdin.flush()
        assert child.stdout.readline() == "done\n"

    yield do
    child.stdin.close()
    assert child.wait(30) == 0


@pytest.fixture
def mapped(power, tool):
    return lambda: json.loads(tool("daxfuse", "status", power.point).stdout)["mappings"]


def test_the_library_flushes(child, mapped):
    """The daemon is not asked."""
    child("store", 0)
    before = mapped()
    assert before["dirty"] == SIZE, "mapped directly"
    child("sync", 0)
    assert mapped()["counters"] == before["counters"]


def test_stored_before_a_restart(child, power, tool, mapped):
    """All pieces were asked back, and nothing was stored since."""
    child("store", 0)
    tool("daxfuse", "restart", power.point)
    assert eventually(lambda: mapped()["pin_records"], 0) == 0
    assert mapped()["dirty"] == SIZE
    child("sync", 0)
    assert mapped()["dirty"] == 0
    flushed = mapped()["counters"]["flushed"]
    child("sync", 0)
    assert mapped()["counters"]["flushed"] == flushed, "once is enough"


def test_stored_before_a_piece_was_taken_back(child, power, mapped):
    """Only that one needs the daemon."""
    child("store", 0)
    fd = os.open(power.point / "file", os.O_RDWR)
    fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, 4096)
    os.close(fd)
    before = mapped()["counters"]["flushed"]
    child("sync", 2 * MIB)
    assert mapped()["counters"]["flushed"] == before
    child("sync", 0)
    assert mapped()["counters"]["flushed"] > before
