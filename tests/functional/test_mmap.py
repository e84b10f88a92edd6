# SPDX-License-Identifier: BSD-3-Clause
"""Mappings of files, shared and private, beside read() and write()."""

import mmap
import os
import random
import subprocess

import pytest

from support.pool import MIB
from support.process import Child, concurrently, fails

POOL_MODES = {"cached": ["dax=never"], "dax": ["dax=always"]}

PAGE = 4096


def data(size, seed=1):
    return random.Random(seed).randbytes(size)


def map_file(path, length=0, **kwargs):
    fd = os.open(path, os.O_RDWR)
    try:
        return mmap.mmap(fd, length, **kwargs)
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", [10, PAGE, 100_000, 5 * MIB + 7])
def test_read_through_a_mapping(mnt, size):
    (mnt / "f").write_bytes(data(size))
    with map_file(mnt / "f") as view:
        assert view[:] == data(size)
    with map_file(mnt / "f", flags=mmap.MAP_PRIVATE) as view:
        assert view[:] == data(size)


@pytest.mark.parametrize("size", [10, PAGE, 100_000, 5 * MIB + 7])
def test_write_through_a_mapping(mnt, pool, size):
    (mnt / "f").write_bytes(data(size))
    with map_file(mnt / "f") as view:
        view[:] = data(size, 2)
        view.flush()
        assert (mnt / "f").read_bytes() == data(size, 2)
    pool.remount()
    assert (mnt / "f").read_bytes() == data(size, 2)


def test_unmapping_is_enough(mnt, pool):
    """Without msync: another reader sees it at the latest after munmap and close."""
    (mnt / "f").write_bytes(bytes(MIB))
    with map_file(mnt / "f") as view:
        view[5000:5005] = b"there"
    os.sync()
    assert (mnt / "f").read_bytes()[5000:5005] == b"there"
    pool.remount()
    assert (mnt / "f").read_bytes()[5000:5005] == b"there"


def test_msync_is_durable(make_pool):
    """What msync() acknowledged outlives the daemon's SIGKILL."""
    for option in ("dax=never", "dax=always"):
        pool = make_pool()
        mnt = pool.mount(option)
        (mnt / "f").write_bytes(bytes(3 * MIB))
        view = map_file(mnt / "f")
        for at in range(0, 3 * MIB, 10_000):
            view[at:at + 4] = b"kept"
        view.flush()
        pool.kill()
        view.close()
        pool.mount(option)
        content = (mnt / "f").read_bytes()
        assert all(content[at:at + 4] == b"kept" for at in range(0, 3 * MIB, 10_000))


def test_private_changes_stay_private(mnt):
    (mnt / "f").write_bytes(data(100_000))
    with map_file(mnt / "f", flags=mmap.MAP_PRIVATE) as view:
        view[:1000] = b"x" * 1000
        assert (mnt / "f").read_bytes() == data(100_000)
        assert view[:1000] == b"x" * 1000 and view[1000:] == data(100_000)[1000:]
    assert (mnt / "f").read_bytes() == data(100_000)


def test_write_is_seen_in_a_mapping(mnt):
    """Also in pages that were touched before."""
    (mnt / "f").write_bytes(data(MIB))
    with map_file(mnt / "f") as view:
        assert view[:] == data(MIB)
        fd = os.open(mnt / "f", os.O_RDWR)
        for at in (0, 5000, 500_000):
            os.pwrite(fd, b"written", at)
            assert view[at:at + 7] == b"written"
        os.close(fd)


def test_mapping_is_seen_by_read(mnt):
    (mnt / "f").write_bytes(bytes(MIB))
    fd = os.open(mnt / "f", os.O_RDWR)
    with map_file(mnt / "f") as view:
        for at in (0, 5000, 500_000):
            view[at:at + 6] = b"mapped"
            assert os.pread(fd, 6, at) == b"mapped"
    os.close(fd)


def test_stores_and_writes_beside_each_other(mnt):
    """A page changed by both: neither undoes the other."""
    (mnt / "f").write_bytes(bytes(64 * PAGE))
    fd = os.open(mnt / "f", os.O_RDWR)
    with map_file(mnt / "f") as view:
        for page in range(64):
            view[page * PAGE] = 1
            os.pwrite(fd, b"\x02", page * PAGE + 100)
            view[page * PAGE + 200] = 3
        view.flush()
        content = os.pread(fd, 64 * PAGE, 0)
        for page in range(64):
            assert content[page * PAGE::100][:3] == b"\x01\x02\x03"
    os.close(fd)


def test_processes_share_a_mapping(mnt):
    (mnt / "f").write_bytes(bytes(8 * PAGE))

    def store(number):
        with map_file(mnt / "f") as view:
            for page in range(8):
                view[page * PAGE + number] = number + 1

    concurrently(store, range(4))
    with map_file(mnt / "f") as view:
        assert all(view[page * PAGE:page * PAGE + 4] == b"\x01\x02\x03\x04" for page in range(8))


def test_mapping_of_a_hole(mnt):
    (mnt / "f").touch()
    os.truncate(mnt / "f", 10 * MIB)
    with map_file(mnt / "f") as view:
        assert view[5 * MIB:5 * MIB + PAGE] == bytes(PAGE)
        view[5 * MIB] = 7
        view.flush()
    content = (mnt / "f").read_bytes()
    assert content[5 * MIB] == 7 and sum(content) == 7


def test_bytes_past_the_end_are_not_kept(mnt, pool):
    """Stores into the last page behind the end of the file never show in it."""
    (mnt / "f").write_bytes(b"12345")
    fd = os.open(mnt / "f", os.O_RDWR)
    os.ftruncate(fd, PAGE)
    view = mmap.mmap(fd, PAGE)
    os.pwrite(fd, b"x" * 100, 5)
    os.ftruncate(fd, 5)
    assert view[:] == b"12345" + bytes(PAGE - 5)
    view[10] = 255
    view.flush()
    view.close()
    os.ftruncate(fd, PAGE)
    assert os.pread(fd, PAGE, 0) == b"12345" + bytes(PAGE - 5)
    os.close(fd)


def test_truncate_under_a_mapping(mnt):
    """A page that no longer exists is SIGBUS, not old data."""
    (mnt / "f").write_bytes(data(10 * PAGE))
    program = ("import mmap, os, sys\n"
               "fd = os.open(sys.argv[1], os.O_RDWR)\n"
               "view = mmap.mmap(fd, 0)\n"
               "view[9 * 4096]\n"
               "os.ftruncate(fd, 4096)\n"
               "view[100]\n"
               "view[9 * 4096]\n")
    done = subprocess.run(["python3", "-c", program, mnt / "f"], capture_output=True)
    assert done.returncode == -7


def test_grown_file_under_a_mapping(mnt):
    (mnt / "f").write_bytes(data(PAGE))
    fd = os.open(mnt / "f", os.O_RDWR)
    os.ftruncate(fd, 10 * PAGE)
    with mmap.mmap(fd, 10 * PAGE) as view:
        os.pwrite(fd, b"new", 9 * PAGE)
        assert view[9 * PAGE:9 * PAGE + 3] == b"new"
    os.close(fd)


def test_mapping_keeps_an_unlinked_file(mnt):
    (mnt / "f").write_bytes(data(MIB))
    with map_file(mnt / "f") as view:
        os.unlink(mnt / "f")
        assert view[:] == data(MIB)
        view[0] = 0
        view.flush()


def test_protections(mnt):
    (mnt / "f").write_bytes(data(PAGE))
    fd = os.open(mnt / "f", os.O_RDONLY)
    with fails("EACCES"):
        mmap.mmap(fd, PAGE)
    with mmap.mmap(fd, PAGE, prot=mmap.PROT_READ) as view:
        assert view[:] == data(PAGE)
    os.close(fd)


def test_write_from_a_mapping_of_the_same_file(mnt):
    """The classic deadlock: write() whose source is a not yet mapped page of its own target."""
    (mnt / "f").write_bytes(data(2 * MIB))

    def copy():
        fd = os.open(mnt / "f", os.O_RDWR)
        view = mmap.mmap(fd, 2 * MIB)
        for at in range(0, MIB, 100_000):
            os.pwrite(fd, memoryview(view)[MIB + at:MIB + at + 100_000], at)

    Child(copy).result()
    content = (mnt / "f").read_bytes()
    assert content[:MIB] == data(2 * MIB)[MIB:]


def test_read_into_a_mapping_of_another_file(mnt):
    (mnt / "f").write_bytes(data(MIB))
    (mnt / "g").write_bytes(bytes(MIB))
    fd = os.open(mnt / "f", os.O_RDONLY)
    with map_file(mnt / "g") as view:
        assert os.preadv(fd, [view], 0) == MIB
    os.close(fd)
    assert (mnt / "g").read_bytes() == data(MIB)


def test_programs_run_from_here(mnt):
    subprocess.run(["cp", "/bin/true", mnt / "true"], check=True)
    subprocess.run([mnt / "true"], check=True)
    fd = os.open(mnt / "true", os.O_RDONLY)
    os.close(fd)
    subprocess.run(["cp", "/usr/bin/python3", mnt / "python"], check=True)
    out = subprocess.run([mnt / "python", "-c", "print(6 * 7)"], capture_output=True, text=True)
    assert out.stdout == "42\n"


def test_mtime_moves_with_a_store(mnt):
    (mnt / "f").write_bytes(data(PAGE))
    os.utime(mnt / "f", ns=(1, 1))
    with map_file(mnt / "f") as view:
        view[0] = 1
        view.flush()
    assert (mnt / "f").stat().st_mtime_ns > 1
