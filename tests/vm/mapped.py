# SPDX-License-Identifier: BSD-3-Clause
"""
Run in the guest (by test_direct.py): direct mappings on DAXFUSE_DEVICE, which can be mapped in whole
units only. Programs here speak the protocol themselves; libdaxmap has tests of its own.
"""

import errno
import fcntl
import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.direct import (EAGER, HUGE, PAGE, READ, UNIT, UNMAP, WRITABLE, WRITE, ZERO, Program,
                            error_of)
from support.pool import MIB, Pool

STATUS = 2 << 30 | 8192 << 16 | 0xdf02  # DXF_IOC_STATUS
OLD = b"\xa5"  # what other files have left on the device
SIZES = (10, 5000, PAGE, UNIT - 1, UNIT, UNIT + 1, UNIT + 5000)


@pytest.fixture(scope="module")
def pool(bin_dir, tmp_path_factory):
    """A mounted pool on the device; everything must be in order in the end."""
    pool = Pool(bin_dir, tmp_path_factory.mktemp("pool") / "p", device=os.environ["DAXFUSE_DEVICE"])
    pool.mount("dax=always")
    try:
        yield pool
        pool.close()
    finally:
        pool.abandon()


@pytest.fixture
def mnt(request, pool):
    """An empty folder; afterwards all space is free again."""
    path = pool.point / request.node.name.replace("[", "-").replace("]", "")
    with pool.watched():
        before = os.statvfs(pool.point).f_bfree
        path.mkdir()
        yield path
        subprocess.run(["rm", "-r", path], check=True)
        wait_until(lambda: os.statvfs(pool.point).f_bfree >= before)
        assert mappings(pool)["quarantined"] == 0


@pytest.fixture
def program(pool):
    with Program(pool.point) as program:
        yield program


def wait_until(condition):
    for _ in range(100):
        if condition():
            return
        time.sleep(0.05)
    assert condition()


def status(pool):
    """As daxfuse status, which takes much longer to start here."""
    answer = bytearray(8192)
    fd = os.open(pool.point, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, STATUS, answer)
    finally:
        os.close(fd)
    return json.loads(answer.split(b"\0")[0])


def space(pool):
    return status(pool)["space"]


def mappings(pool):
    return status(pool)["mappings"]


def pattern(length, seed=1):
    return (bytes((i * 7 + seed) % 251 for i in range(251)) * (length // 251 + 1))[:length]


def make(path, length, seed=1):
    path.write_bytes(pattern(length, seed))
    return path


def in_units(size):
    return -(-size // UNIT) * UNIT


def check_pieces(pieces, size):
    """All of the file, and the rest of its last unit, in whole units."""
    assert pieces[0].file_offset == 0
    assert sum(piece.length for piece in pieces) == in_units(size)
    for piece in pieces:
        assert piece.flags & HUGE and piece.length % UNIT == 0 and piece.device_offset % UNIT == 0


@contextmanager
def full(pool, mnt, units):
    """While only so many units are free."""
    ballast = os.open(mnt / "ballast", os.O_RDWR | os.O_CREAT)
    try:
        os.posix_fallocate(ballast, 0, (space(pool)["free_units"] - units) * UNIT)
        while space(pool)["free_units"] > units:
            os.posix_fallocate(ballast, os.fstat(ballast).st_size, UNIT)
        while not units and space(pool)["free"] >= UNIT:  # blocks that may be a whole unit
            os.posix_fallocate(ballast, os.fstat(ballast).st_size, UNIT)
        while space(pool)["free_units"] < units:  # a table has taken one, too
            os.ftruncate(ballast, os.fstat(ballast).st_size - UNIT)
    finally:
        os.close(ballast)
    assert space(pool)["free_units"] == units
    yield
    os.unlink(mnt / "ballast")


# ---- the end of the file

def test_behind_the_end_is_zero(mnt, program):
    for size in SIZES:
        file = program.open(make(mnt / str(size), size))
        check_pieces(file.map(access=EAGER), size)
        assert file.load(0, in_units(size)) == pattern(size) + bytes(in_units(size) - size)
        assert file.size == size
        assert (mnt / str(size)).read_bytes() == pattern(size)


def test_an_empty_file(mnt, program):
    """There is nothing to map until it grows."""
    file = program.open(make(mnt / "f", 0))
    for access in (READ, EAGER, WRITE):
        assert error_of(file.ask, access=access) == "ENXIO"
    (mnt / "f").write_bytes(b"hello")
    check_pieces(file.map(access=WRITE), 5)
    assert file.load(0, UNIT) == b"hello" + bytes(UNIT - 5)
    file.store(5, b" world")
    os.truncate(mnt / "f", 11)
    assert (mnt / "f").read_bytes() == b"hello" + bytes(6)


def grow(path, how, size, grown):
    """What is in a file of `size` bytes, grown to another size."""
    fd = os.open(path, os.O_RDWR)
    expected = pattern(size)
    if how == "write":
        expected += pattern(grown - size, 5)
        os.pwrite(fd, pattern(grown - size, 5), size)
    elif how == "write far":
        expected += bytes(grown - 3 - size) + b"end"
        os.pwrite(fd, b"end", grown - 3)
    elif how == "truncate":
        os.ftruncate(fd, grown)
    else:
        os.posix_fallocate(fd, 0, grown)
    os.close(fd)
    return expected + bytes(grown - len(expected))


@pytest.mark.parametrize("how", ("write", "write far", "truncate", "fallocate"))
def test_stores_behind_the_end_do_not_come_back(mnt, program, how):
    for size in (10, 5000, UNIT + 5000):
        path = make(mnt / str(size), size)
        file = program.open(path)
        file.map(access=EAGER)
        end = in_units(size)
        for at in (size, size + 100, end - PAGE - 1, end - 8):
            file.store(at, b"behind")
        grown = end - 4000
        expected = grow(path, how, size, grown)
        assert path.read_bytes() == expected
        file.map(access=EAGER)  # a program asks again, or goes on with what it has
        assert file.load(0, grown) == expected
        os.truncate(path, 3 * UNIT)
        expected += bytes(3 * UNIT - grown)
        assert path.read_bytes() == expected
        file.map(access=READ)
        assert file.load(0, 3 * UNIT) == expected


def test_what_is_cut_off_does_not_come_back(mnt, program):
    path = make(mnt / "f", 3 * UNIT)
    file = program.open(path)
    for size in (UNIT + 5000, 5000, 10):
        file.map(access=EAGER)
        os.truncate(path, size)
        assert not [at for at in file.pieces if at + UNIT > in_units(size)]
        check_pieces(file.map(access=EAGER), size)
        file.store(in_units(size) - 6, b"behind")
        os.truncate(path, 3 * UNIT)
        data = path.read_bytes()
        assert data == pattern(size) + bytes(3 * UNIT - size)


def test_a_mapping_sees_a_file_grow(mnt, program):
    """What is written and stored inside the last unit is seen by both, asked for or not."""
    path = make(mnt / "f", 10)
    file = program.open(path)
    file.map(access=EAGER)
    with open(path, "r+b", buffering=0) as f:
        for at in (10, 100, 5000, 300 * PAGE, UNIT - 1):
            f.seek(at)
            f.write(b"W")
            assert file.load(at, 1) == b"W"
            file.store(at - 1, b"S")
            f.seek(at - 1)
            assert f.read(1) == b"S"


def places(pieces):
    """The units of the device."""
    return {at for piece in pieces
            for at in range(piece.device_offset, piece.device_offset + piece.length, UNIT)}


def make_new(path, how, size):
    """Its contents."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    data = {"written": pattern(size), "grown": b"x"}.get(how, b"")
    os.write(fd, data)
    if how == "reserved":
        os.posix_fallocate(fd, 0, size)
    else:
        os.ftruncate(fd, size)
    os.close(fd)
    return data + bytes(size - len(data))


@pytest.mark.parametrize("how", ("written", "sparse", "reserved", "grown"))
def test_no_old_bytes_of_others(pool, mnt, program, how):
    """All free units are full of what a deleted file had."""
    with full(pool, mnt, 7):
        with open(mnt / "old", "wb", buffering=0) as f:
            assert f.write(OLD * 6 * UNIT) == 6 * UNIT
        file = program.open(mnt / "old")
        old, new = places(file.ask()), set()
        assert len(old) == 6
        file.close()
        (mnt / "old").unlink()
        for size in (10, 5000, UNIT + 5000):
            path = mnt / str(size)
            expected = make_new(path, how, size) + bytes(in_units(size) - size)
            file = program.open(path)
            pieces = file.map(access=WRITE)
            check_pieces(pieces, size)
            assert file.load(0, in_units(size)) == expected
            new |= places(pieces)
            os.truncate(path, in_units(size))
            assert path.read_bytes() == expected
            file.close()
        assert len(new) == 4 and len(new & old) >= 3


def test_read_only(pool, mnt, program):
    """What can't be zeroed is not shown: the kernel maps a file with old bytes behind its end."""
    with full(pool, mnt, 12):
        (mnt / "old").write_bytes(OLD * 11 * UNIT)
        (mnt / "old").unlink()
        paths = [make(mnt / str(n), UNIT + 100 * PAGE * n) for n in (1, 2, 3)]
        file = program.open(paths[0])
        file.map(access=WRITE)
        file.close()
        program.close()
        pool.remount("dax=always", "ro")
        try:
            with Program(pool.point) as reader:
                for path in paths:
                    file = reader.open(path, os.O_RDONLY)
                    size = path.stat().st_size
                    if error_of(file.map) == "ENOTSUP":
                        assert path != paths[0], "that was mapped before"
                        continue
                    assert file.load(0, in_units(size)) == pattern(size) + bytes(in_units(size) - size)
        finally:
            pool.remount("dax=always")


# ---- blocks and holes

def scatter(path, size):
    """A file that lies in 4 KiB blocks; its contents."""
    with open(path, "wb") as f:
        f.truncate(size)
        for at in range(0, size - PAGE, 16 * PAGE):
            f.seek(at)
            f.write(pattern(PAGE, at))
    return path.read_bytes()


def lies_in_units(pool, path):
    extents = json.loads(pool.run("daxfuse", "map", path))["extents"]
    return all(extent["device_offset"] % UNIT == extent["file_offset"] % UNIT for extent in extents)


@pytest.mark.parametrize("access", (READ, EAGER, WRITE))
def test_blocks_are_gathered(pool, mnt, program, access):
    size = 2 * UNIT - 5000
    before = scatter(mnt / "f", size)
    assert not lies_in_units(pool, mnt / "f")
    file = program.open(mnt / "f")
    check_pieces(file.map(access=access), size)
    assert lies_in_units(pool, mnt / "f")
    assert file.load(0, 2 * UNIT) == before + bytes(5000)
    assert (mnt / "f").read_bytes() == before


def test_holes_stay_until_they_are_stored_to(mnt, program):
    path = mnt / "f"
    with open(path, "wb") as f:
        f.truncate(8 * UNIT - 5000)
    file = program.open(path)
    pieces = file.map(access=EAGER)
    assert all(piece.flags & ZERO for piece in pieces)
    assert os.stat(path).st_blocks == 0
    piece = file.map(3 * UNIT + PAGE, PAGE, WRITE)[0]
    assert (piece.file_offset, piece.length) == (3 * UNIT, UNIT)
    assert piece.flags == HUGE | WRITABLE
    file.store(3 * UNIT + PAGE, b"stored")
    with open(path, "rb") as f:
        f.seek(3 * UNIT)
        assert f.read(UNIT) == bytes(PAGE) + b"stored" + bytes(UNIT - PAGE - 6)
    assert UNIT <= os.stat(path).st_blocks * 512 < UNIT + MIB
    with open(path, "r+b") as f:
        f.seek(5 * UNIT + 1)
        f.write(b"written")
    assert any(message.kind == UNMAP for message in program.asked), "zeroes are taken back"
    file.map(5 * UNIT, UNIT)
    assert file.load(5 * UNIT, 10) == b"\0written\0\0"


def test_part_of_a_unit_is_punched(mnt, program):
    path = make(mnt / "f", 2 * UNIT)
    file = program.open(path)
    file.map(access=EAGER)
    subprocess.run(["fallocate", "-p", "-o", "12288", "-l", str(UNIT), path], check=True)
    expected = pattern(12288) + bytes(UNIT) + pattern(2 * UNIT)[UNIT + 12288:]
    assert path.read_bytes() == expected
    check_pieces(file.map(access=EAGER), 2 * UNIT)
    assert file.load(0, 2 * UNIT) == expected


def test_without_a_free_unit(pool, mnt, program, bin_dir):
    """The daemon says so, and a program gets the kernel's mapping."""
    expected = scatter(mnt / "f", UNIT)
    with full(pool, mnt, 0):
        assert space(pool)["free"] > 16 * PAGE
        file = program.open(mnt / "f")
        for access in (READ, EAGER, WRITE):
            assert error_of(file.ask, access=access) == "ENOTSUP"  # EOPNOTSUPP
        file.close()
        script = ("import mmap, os, sys; memory = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 0); "
                  "memory[0] = 1; memory.flush()")
        done = subprocess.run([bin_dir / "daxfuse", "run", "-v", "python3", "-c", script, mnt / "f"],
                              capture_output=True, text=True)
        assert done.returncode == 0 and "through the kernel" in done.stderr, done
        assert (mnt / "f").read_bytes() == b"\1" + expected[1:]


STORES = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
memory = mmap.mmap(fd, 0)
memory[5] = 1
print(flush=True)
input()
memory[3 << 21] = 2
memory.flush()
print(memory[5], os.pread(fd, 1, 3 << 21)[0], flush=True)
input()
memory[2 << 21] = 3
"""


def test_units_run_out(pool, mnt, bin_dir):
    """At a store to a hole of a mapped file: the kernel maps it from then on."""
    with open(mnt / "f", "wb") as f:
        f.truncate(4 * UNIT)
    scatter(mnt / "some", UNIT)  # that not all blocks are taken below
    with subprocess.Popen([bin_dir / "daxfuse", "run", "python3", "-c", STORES, mnt / "f"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "\n"
        assert mappings(pool)["huge"] == UNIT and mappings(pool)["zeroes"] == 3 * UNIT
        with full(pool, mnt, 0):
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "1 2\n"
            asked = mappings(pool)["counters"]["asked"]
            subprocess.run(["fallocate", "-p", "-o", "8192", "-l", "4096", mnt / "f"], check=True)
            assert mappings(pool)["counters"]["asked"] == asked, "it has let go of all of it"
            child.stdin.write("\n")
            child.stdin.close()
            assert child.wait(60) == 0
    data = (mnt / "f").read_bytes()
    assert data.count(0) == 4 * UNIT - 3 and (data[5], data[3 * UNIT], data[2 * UNIT]) == (1, 2, 3)


# ---- fsync

def test_fsync_flushes(pool, mnt, program):
    """Each time what may have been stored to."""
    assert status(pool)["granularity"] == "cache_line"
    file = program.open(make(mnt / "f", 4 * UNIT))
    file.map(access=READ)
    before = mappings(pool)["counters"]["flushed"]
    os.fsync(file.fd)
    assert mappings(pool)["counters"]["flushed"] == before, "nothing was stored"
    file.map(0, 3 * UNIT, access=WRITE)
    for _ in range(2):
        before = mappings(pool)["counters"]["flushed"]
        file.store(UNIT, b"stored")
        os.fsync(file.fd)
        assert mappings(pool)["counters"]["flushed"] == before + 3


# ---- long-term pins

SOURCE = b"\x5a"


class Registered:
    """registered.c: a program whose mapping is a registered buffer."""

    def __init__(self, path, source, pin):
        self.child = subprocess.Popen(["registered", path, source, "pin" if pin else "-"],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.child.stdout.readline() == "0\n"

    def do(self, step):
        self.child.stdin.write(step + "\n")
        self.child.stdin.flush()
        return int(self.child.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if any(error):
            self.child.kill()
        self.child.stdin.close()
        assert any(error) or self.child.wait(60) == 0


def assert_all(path, byte, least):
    data = path.read_bytes()
    assert len(data) >= least and data.count(byte) == len(data)


def fill(path, byte):
    """All that is free, down to the last block."""
    with open(path, "wb", buffering=0) as f:
        try:
            while f.write(byte * UNIT):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(SOURCE * 2 * UNIT)
    return path


def test_a_registered_buffer(pool, mnt, source):
    """The file is cut by others, and all space taken: io_uring goes on storing where it did."""
    path, other = make(mnt / "f", 2 * UNIT), mnt / "other"
    with full(pool, mnt, 3), Registered(path, source, pin=True) as buffer:
        assert buffer.do("read") == 2 * UNIT
        assert path.read_bytes() == SOURCE * 2 * UNIT
        os.truncate(path, 5000)
        assert mappings(pool)["quarantined"] == UNIT
        assert buffer.do("read") == 2 * UNIT
        os.truncate(path, UNIT)
        assert path.read_bytes() == SOURCE * 5000 + bytes(UNIT - 5000)
        os.truncate(path, 0)
        assert mappings(pool)["quarantined"] == 2 * UNIT
        fill(other, OLD)
        for _ in range(5):
            assert buffer.do("read") == 2 * UNIT
        assert_all(other, OLD, 3 * UNIT)
        assert buffer.do("unregister") == 0
        assert mappings(pool)["quarantined"] == 2 * UNIT
        assert buffer.do("unpin") == 0
        assert mappings(pool)["quarantined"] == 0 and space(pool)["free_units"] == 2


def test_a_registered_buffer_of_a_program_that_dies(pool, mnt, source):
    """What was pinned comes back without a word of it."""
    path = make(mnt / "f", 2 * UNIT)
    with pytest.raises(BrokenPipeError), Registered(path, source, pin=True) as buffer:
        os.truncate(path, UNIT)
        assert mappings(pool)["quarantined"] == UNIT
        buffer.child.kill()
        buffer.child.wait()
        wait_until(lambda: not mappings(pool)["quarantined"])
        buffer.do("unpin")


def test_a_registered_buffer_while_the_daemon_dies(pool, mnt, source):
    """The next serving process knows of the pin, on the file and beside it."""
    path, other = make(mnt / "f", 2 * UNIT), mnt / "other"
    with full(pool, mnt, 3), Registered(path, source, pin=True) as buffer:
        os.truncate(path, UNIT)
        kill_daemon(pool)
        assert mappings(pool)["quarantined"] == UNIT
        os.truncate(path, 0)
        assert mappings(pool)["quarantined"] == 2 * UNIT
        fill(other, OLD)
        assert buffer.do("read") == 2 * UNIT
        assert_all(other, OLD, 3 * UNIT)
        assert buffer.do("unregister") == 0 and buffer.do("unpin") == 0
        assert mappings(pool)["quarantined"] == 0


def test_without_a_pin(pool, mnt, source):
    """The program is asked, and its mapping is made anew; the kernel goes on using the old place
    (docs/design/direct.md), which is free again."""
    path = make(mnt / "f", 2 * UNIT)
    with Registered(path, source, pin=False) as buffer:
        asked = mappings(pool)["counters"]["asked"]
        os.truncate(path, 0)
        assert mappings(pool)["counters"]["asked"] == asked + 1
        assert mappings(pool)["quarantined"] == 0
        os.truncate(path, 2 * UNIT)
        assert buffer.do("read") == 2 * UNIT
        assert buffer.do("load") == 0 and path.read_bytes() == bytes(2 * UNIT)
        assert buffer.do("unregister") == 0


# ---- the daemon dies

def kill_daemon(pool):
    before = pool.serving()
    os.kill(before, signal.SIGKILL)
    os.statvfs(pool.point)
    assert pool.serving() != before
    pool.log.write_text("")  # that it was killed


def test_daemon_is_killed(pool, mnt, program):
    path = make(mnt / "f", 4 * UNIT + 5000)
    file = program.open(path)
    before = file.map(access=EAGER)
    check_pieces(before, 4 * UNIT + 5000)
    kill_daemon(pool)
    file.store(UNIT + 7, b"alone")
    file.store(4 * UNIT + 5000, b"behind")
    with open(path, "rb") as f:
        f.seek(UNIT + 7)
        assert f.read(5) == b"alone"
    assert json.loads(pool.run("daxfuse", "map", path))["mapped"]["huge"] == 5 * UNIT
    program.connect(program.session)
    # somebody else cuts it: asked for all of it, as it may have missed a question
    os.truncate(path, 2 * UNIT)
    assert any(message.kind == UNMAP for message in program.asked)
    assert not file.pieces
    check_pieces(file.map(access=EAGER), 2 * UNIT)
    os.truncate(path, 5 * UNIT)
    expected = bytearray(pattern(2 * UNIT) + bytes(3 * UNIT))
    expected[UNIT + 7:UNIT + 12] = b"alone"
    assert path.read_bytes() == expected


def test_a_program_does_not_notice(pool, mnt, bin_dir):
    """An unmodified one (tests/daxmap/program.c), which maps and stores between the daemon's deaths."""
    path = make(mnt / "f", 4 * UNIT)
    with subprocess.Popen(["daxfuse", "run", "daxmap-program", "steps", path],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        def step(count):
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == f"{count}\n"

        step(1)
        kill_daemon(pool)
        step(2)
        os.truncate(path, 2 * UNIT)
        os.truncate(path, 4 * UNIT)
        step(3)
        kill_daemon(pool)
        subprocess.run(["fallocate", "-p", "-o", "0", "-l", str(UNIT), path], check=True)
        step(4)
        child.stdin.close()
        assert child.wait(60) == 0
    data = path.read_bytes()
    assert data[:UNIT] == bytes(4) + b"\4" + bytes(UNIT - 5)
    assert data[UNIT:2 * UNIT] == pattern(2 * UNIT)[UNIT:]
    assert data[2 * UNIT:] == bytes(UNIT + 3) + b"\3\4" + bytes(UNIT - 5)
