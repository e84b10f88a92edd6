# SPDX-License-Identifier: BSD-3-Clause
"""A process that is to end waits for nothing that only it could answer."""

import errno
import mmap
import os
import signal
import subprocess
import time

import pytest

from restart.task import Task
from support.direct import EAGER, UNIT, Program
from support.pool import MIB
from support.syscalls import FALLOC_INSERT_RANGE, change_range

SIZE = 48 * MIB
BLOCK = 4096


class Dirty:
    """A file that was stored to through a mapping: an insertion has all of it written back
    first, page by page."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT)
        os.ftruncate(self.fd, SIZE)
        self.map = mmap.mmap(self.fd, SIZE)
        self.inserted = 0

    def touch(self):
        for at in range(0, SIZE, BLOCK):
            self.map[at:at + 1] = b"x"

    def insert(self):
        change_range(self.fd, FALLOC_INSERT_RANGE, BLOCK, BLOCK)

    def check(self):
        assert os.fstat(self.fd).st_size == SIZE + self.inserted * BLOCK
        data = os.pread(self.fd, 3 * BLOCK, 0)
        assert [data[at:at + 1] for at in range(0, 3 * BLOCK, BLOCK)] == [b"x", b"\0", b"x"]


@pytest.fixture
def dirty(make_pool):
    pool = make_pool()
    pool.serve()
    pool.dirty = Dirty(pool.point / "file")
    return pool


def start_inserting(pool, insert):
    """A task that inserts, and is still about it: the kernel may have written the pages back by
    itself just before, then once more."""
    for _ in range(20):
        pool.dirty.touch()
        pool.dirty.inserted += 1
        inserting = Task("insert", insert)
        pool.tasks.append(inserting)
        time.sleep(0.02)
        if not inserting.has_ended():
            return inserting
        inserting.result(30)
    raise AssertionError("an insertion always takes less than 20 ms")


def test_restart_while_pages_are_written_back(dirty, bin_dir):
    pool = dirty
    with pool.limit(60):
        inserting = start_inserting(pool, pool.dirty.insert)
        done = subprocess.run([bin_dir / "daxfuse", "restart", pool.point], capture_output=True,
                              text=True)
        assert done.returncode == 0, done.stderr
        inserting.result(30)
        pool.dirty.check()
    pool.dirty.map.close()
    os.close(pool.dirty.fd)


def test_end_while_pages_are_written_back(dirty):
    """Busy: detached. A program that still uses it gets an error, soon."""
    pool = dirty

    def insert():
        try:
            pool.dirty.insert()
        except OSError as error:
            assert error.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO), error

    with pool.limit(60):
        inserting = start_inserting(pool, insert)
        os.kill(pool.supervisor, signal.SIGTERM)
        inserting.result(30)
        assert pool.daemon.wait(30) == 0
    pool.daemon = None
    with pytest.raises(OSError):
        os.fstatvfs(pool.dirty.fd)  # what stat() says the kernel may know by itself
    os.close(pool.dirty.fd)


def test_end_with_a_file_that_programs_had_mapped(make_pool):
    """What the last process kept of it is given up when the clients are closed, which is after the
    mount has ended; the asan build sees what is freed too early (DAXFUSE_PRESET=asan)."""
    pool = make_pool()
    pool.serve("dax=always")
    (pool.point / "file").write_bytes(b"x" * UNIT)
    with pool.limit(60), Program(pool.point) as program:
        file = program.open(pool.point / "file")
        file.map(access=EAGER)
        pool.run("daxfuse", "restart", pool.point)
        os.ftruncate(file.fd, 100_000)
        os.kill(pool.supervisor, signal.SIGTERM)
        assert pool.daemon.wait(60) == 0
        pool.daemon = None
        file.close()
    pool.check_log()
