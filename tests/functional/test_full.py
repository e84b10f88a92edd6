# SPDX-License-Identifier: BSD-3-Clause
"""A full pool: ENOSPC at the call that fails, and deleting always works."""

import errno
import os
import random
import time

import pytest

from support.pool import MIB
from support.process import Child, concurrently, eventually, fails
from support.syscalls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, fallocate


@pytest.fixture
def small(make_pool):
    pool = make_pool(32 * MIB)
    pool.mount()
    return pool


def fill(path, step):
    """Write until ENOSPC; how much was taken. A write that was short is completed by the next
    one, if somebody has made room meanwhile: every `step` bytes are of one kind."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    done = 0
    try:
        while True:
            done += os.write(fd, bytes([done // step % 251]) * (step - done % step))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    finally:
        os.close(fd)
    return done


def fill_all(folder):
    """Large files, then small ones, then names, until nothing fits."""
    fill(folder / "large", MIB)
    for i in range(100_000):
        try:
            (folder / f"small{i}").write_bytes(b"x" * 4096)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            break
    for i in range(100_000):
        try:
            os.mkdir(folder / f"name{i}")
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return
    raise AssertionError("the pool is never full")


def delete_all(folder):
    for name in os.listdir(folder):
        path = folder / name
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize("step", [3000, 65536, MIB])
def test_one_file_until_full(small, step):
    free = small.free()[0] * 4096
    done = fill(small.point / "f", step)
    assert done >= free * 0.9
    assert (small.point / "f").stat().st_size == done
    with open(small.point / "f", "rb") as file:
        for at in range(0, done, step):
            assert file.read(step) == (bytes([at // step % 251]) * step)[:done - at]
    small.remount()
    assert (small.point / "f").stat().st_size == done


def test_everything_can_be_deleted(small):
    before = small.free()
    fill_all(small.point)
    assert small.free()[0] < 512
    delete_all(small.point)
    assert eventually(small.free, before) == before


@pytest.mark.parametrize("change", [
    lambda fd, path: os.truncate(path, 10_000),
    lambda fd, path: os.truncate(path, 5 * MIB + 1),
    lambda fd, path: fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 4096, 5 * MIB),
    lambda fd, path: os.rename(path, path.with_name("small0")),
    lambda fd, path: os.chmod(path, 0o600),
    lambda fd, path: os.utime(path),
    lambda fd, path: os.pwrite(fd, b"overwritten", 3 * MIB),
], ids=["shrink", "shrink-little", "punch", "rename", "chmod", "utime", "overwrite"])
def test_what_works_on_a_full_pool(small, change):
    fill_all(small.point)
    fd = os.open(small.point / "large", os.O_RDWR)
    change(fd, small.point / "large")
    os.close(fd)


def test_refused_calls_leave_nothing_behind(small):
    fill_all(small.point)
    before = sorted(os.listdir(small.point))
    with fails("ENOSPC"):
        os.mkdir(small.point / "x")
    with fails("ENOSPC"):
        os.symlink("x" * 1000, small.point / "s")
    assert sorted(os.listdir(small.point)) == before


def test_space_freed_is_usable_again(small):
    """Fill and empty, several times: nothing leaks."""
    taken = []
    for _ in range(4):
        taken.append(fill(small.point / "f", MIB))
        os.unlink(small.point / "f")
        eventually(lambda: small.free()[0] * 4096 >= taken[0], True)
    assert len(set(taken)) == 1


def test_holes_between_small_files_are_used(small):
    """Every second small file removed: a large one fits into the holes."""
    count = 0
    with fails("ENOSPC"):
        while True:
            (small.point / str(count)).write_bytes(b"x" * 4096)
            count += 1
    # The last one may be there, empty.
    for i in range(0, count, 2):
        os.unlink(small.point / str(i))
    content = random.Random(1).randbytes(count // 2 * 4096 * 8 // 10)
    fd = os.open(small.point / "large", os.O_WRONLY | os.O_CREAT)
    for at in range(0, len(content), 65536):
        os.write(fd, content[at:at + 65536])
    os.close(fd)
    assert (small.point / "large").read_bytes() == content
    for i in range(1, count, 2):
        assert (small.point / str(i)).read_bytes() == b"x" * 4096


def test_many_writers_on_a_full_pool(small):
    """What each write() acknowledged is there."""
    def writer(number):
        return fill(small.point / str(number), 40_000)

    done = concurrently(writer, range(3))
    for number, size in enumerate(done):
        content = (small.point / str(number)).read_bytes()
        assert len(content) == size
        for at in range(0, size, 40_000):
            assert content[at:at + 40_000] == (bytes([at // 40_000 % 251]) * 40_000)[:size - at]


def test_killed_while_full(small):
    def work():
        while True:
            fill(small.point / "f", 100_000)
            fill_all(small.point)
            delete_all(small.point)

    def run():
        try:
            work()
        except OSError:
            pass

    for delay in (3, 8):
        child = Child(run)
        time.sleep(delay / 10)
        small.kill()
        child.result()
        small.fsck()
        small.mount()
    delete_all(small.point)


def test_sparse_size_is_not_space(small):
    (small.point / "f").touch()
    os.truncate(small.point / "f", 1 << 40)
    (small.point / "g").write_bytes(b"x" * MIB)
