# SPDX-License-Identifier: BSD-3-Clause
"""Holes: truncate, fallocate with all its modes, SEEK_DATA and SEEK_HOLE, copy_file_range."""

import os
import random

import pytest

from support.pool import MIB
from support.process import fails
from support.syscalls import (FALLOC_COLLAPSE_RANGE, FALLOC_INSERT_RANGE, FALLOC_KEEP_SIZE,
                              FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, change_range, extents, fallocate)

POOL_MODES = {"cached": ["dax=never"], "dax": ["dax=always"]}

UNIT = 2 * MIB
SIZES = [100, 4096, 10_000, 300_000, 2 * UNIT, 2 * UNIT + 5000]


def data(size, seed=1):
    return random.Random(seed).randbytes(size)


@pytest.fixture
def open_file(mnt):
    """open_file(content) -> a descriptor of a new file."""
    fds = []

    def make(content=b""):
        fd = os.open(mnt / f"f{len(fds)}", os.O_RDWR | os.O_CREAT)
        os.pwrite(fd, content, 0)
        fds.append(fd)
        return fd

    yield make
    for fd in fds:
        os.close(fd)


def content_of(fd):
    return os.pread(fd, os.fstat(fd).st_size + 1, 0)


# ---- truncate

@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cut", [0, 1, 99, 5000, UNIT, UNIT + 1])
def test_truncate_down_and_up(open_file, size, cut):
    """What was cut off never comes back."""
    cut = min(cut, size)
    fd = open_file(data(size))
    os.ftruncate(fd, cut)
    assert content_of(fd) == data(size)[:cut]
    os.ftruncate(fd, size + 10_000)
    assert content_of(fd) == data(size)[:cut] + bytes(size + 10_000 - cut)


@pytest.mark.parametrize("cut", [1, 4000, UNIT - 1, UNIT + 7])
def test_write_behind_a_cut(open_file, cut):
    fd = open_file(data(2 * UNIT))
    os.ftruncate(fd, cut)
    os.pwrite(fd, b"end", cut + 9000)
    assert content_of(fd) == data(2 * UNIT)[:cut] + bytes(9000) + b"end"


def test_truncate_frees_space(open_file, pool):
    fd = open_file()
    before = pool.free()
    os.pwrite(fd, data(20 * MIB), 0)
    os.ftruncate(fd, 0)
    assert os.fstat(fd).st_blocks == 0
    assert pool.free()[0] >= before[0] - 512


def test_truncate_by_path_and_flags(mnt):
    (mnt / "f").write_bytes(data(10_000))
    os.truncate(mnt / "f", 5)
    assert (mnt / "f").read_bytes() == data(10_000)[:5]
    with fails("EINVAL"):
        os.truncate(mnt / "f", -1)
    with open(mnt / "f", "r+b") as file:
        file.truncate(8)
    assert (mnt / "f").read_bytes() == data(10_000)[:5] + bytes(3)


# ---- holes

def test_holes_read_as_zeroes_and_take_no_space(open_file):
    fd = open_file()
    os.pwrite(fd, b"far", 100 * MIB)
    assert os.fstat(fd).st_size == 100 * MIB + 3
    assert os.fstat(fd).st_blocks * 512 <= 64 << 10
    assert os.pread(fd, 8192, 50 * MIB) == bytes(8192)
    assert os.pread(fd, 10, 100 * MIB - 4) == bytes(4) + b"far"


@pytest.mark.parametrize("step", [4096, 10_000, 65536, UNIT, 3 * UNIT])
def test_scattered_writes(open_file, step):
    fd = open_file()
    for i in range(20):
        os.pwrite(fd, b"%04d" % i, i * step + 13)
    expected = bytearray(19 * step + 17)
    for i in range(20):
        expected[i * step + 13:i * step + 17] = b"%04d" % i
    assert content_of(fd) == expected


def test_filling_a_region_backwards(open_file):
    """Blocks become a unit on the way; nothing is lost."""
    fd = open_file()
    content = data(UNIT + 40_000)
    for at in range(len(content) - 4000, -1, -4000):
        os.pwrite(fd, content[at:at + 4000], at)
    assert content_of(fd)[len(content) % 4000:] == content[len(content) % 4000:]


# ---- SEEK_DATA and SEEK_HOLE

def segments(fd):
    """Data segments as the file system reports them."""
    found, at, size = [], 0, os.fstat(fd).st_size
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            break
        at = os.lseek(fd, start, os.SEEK_HOLE)
        assert at > start >= 0
        found.append((start, at))
    return found


def test_seek_in_a_sparse_file(open_file):
    fd = open_file()
    os.ftruncate(fd, 64 * MIB)
    places = [0, MIB, 10 * MIB, 10 * MIB + 4096, 40 * MIB]
    for place in places:
        os.pwrite(fd, b"x" * 4096, place)
    found = segments(fd)
    for place in places:
        assert any(start <= place and place + 4096 <= end for start, end in found)
    assert sum(end - start for start, end in found) <= 4 * UNIT
    for start, end in zip([0] + [end for _, end in found], [start for start, _ in found]):
        assert os.pread(fd, min(end - start, MIB), start).count(0) == min(end - start, MIB)


def test_seek_edges(open_file):
    fd = open_file(b"12345")
    assert os.lseek(fd, 0, os.SEEK_DATA) == 0
    assert os.lseek(fd, 2, os.SEEK_DATA) == 2
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 5
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        with fails("ENXIO"):
            os.lseek(fd, 5, whence)
    empty = open_file()
    with fails("ENXIO"):
        os.lseek(empty, 0, os.SEEK_DATA)
    os.ftruncate(empty, 10 * MIB)
    with fails("ENXIO"):
        os.lseek(empty, 0, os.SEEK_DATA)
    assert os.lseek(empty, 5000, os.SEEK_HOLE) == 5000


def test_holes_are_found_again_after_punching(open_file):
    fd = open_file(data(4 * UNIT))
    assert segments(fd) == [(0, 4 * UNIT)]
    fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, UNIT, UNIT)
    assert segments(fd) == [(0, UNIT), (2 * UNIT, 4 * UNIT)]


# ---- fallocate

@pytest.mark.parametrize("size", [1, 4096, 100_000, 3 * UNIT + 1])
def test_allocate(open_file, size):
    fd = open_file(b"12345")
    fallocate(fd, 0, 0, size)
    assert os.fstat(fd).st_size == max(5, size)
    assert os.fstat(fd).st_blocks * 512 >= size
    assert content_of(fd) == b"12345" + bytes(max(size - 5, 0))


def test_allocate_keeping_the_size(open_file):
    fd = open_file(b"12345")
    fallocate(fd, FALLOC_KEEP_SIZE, 0, 5 * MIB)
    assert os.fstat(fd).st_size == 5 and os.fstat(fd).st_blocks * 512 >= 5 * MIB
    os.pwrite(fd, b"end", 4 * MIB)
    assert content_of(fd) == b"12345" + bytes(4 * MIB - 5) + b"end"
    os.ftruncate(fd, 5)
    os.ftruncate(fd, 8 * MIB)
    assert content_of(fd) == b"12345" + bytes(8 * MIB - 5)


def test_allocated_space_is_reserved(make_pool):
    """After fallocate a write does not run out of space."""
    pool = make_pool(32 * MIB)
    mnt = pool.mount()
    fd = os.open(mnt / "reserved", os.O_RDWR | os.O_CREAT)
    fallocate(fd, 0, 0, 8 * MIB)
    with fails("ENOSPC"), open(mnt / "rest", "wb", buffering=0) as out:
        while True:
            out.write(bytes(MIB))
    for at in range(0, 8 * MIB, 100_000):
        os.pwrite(fd, b"x" * min(100_000, 8 * MIB - at), at)
    os.close(fd)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["punch", "zero", "zero-keep"])
def test_punch_and_zero(open_file, size, mode):
    """Random ranges against a model: what lies beside them stays."""
    rng = random.Random(size)
    model = bytearray(data(size))
    fd = open_file(model)
    flags = {"punch": FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, "zero": FALLOC_ZERO_RANGE,
             "zero-keep": FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE}[mode]
    for _ in range(25):
        offset = rng.randrange(size)
        length = rng.choice([1, 100, 4096, 8192, UNIT, rng.randrange(1, size + 1)])
        if rng.random() < 0.5:
            offset -= offset % 4096
        fallocate(fd, flags, offset, length)
        end = offset + length
        if mode == "zero" and end > len(model):
            model += bytes(end - len(model))
        end = min(end, len(model))
        model[offset:end] = bytes(end - offset)
        assert os.fstat(fd).st_size == len(model)
        piece = rng.randbytes(50)
        offset = rng.randrange(size)
        os.pwrite(fd, piece, offset)
        model[offset:offset + 50] = piece
    assert content_of(fd) == model


def test_punch_frees_space(open_file):
    fd = open_file(data(4 * UNIT))
    fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, 4 * UNIT)
    assert os.fstat(fd).st_blocks <= 16
    small = open_file(data(40_000))
    fallocate(small, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 4096, 8192)
    assert os.fstat(small).st_blocks == 8 * 8


def test_punch_behind_the_end(open_file):
    fd = open_file(b"12345")
    fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 100_000, 5000)
    assert content_of(fd) == b"12345"


def test_fallocate_refusals(open_file, mnt):
    fd = open_file(data(10_000))
    for mode, offset, length in ((0, -1, 10), (0, 0, 0), (FALLOC_KEEP_SIZE, 0, -1)):
        with fails("EINVAL"):
            fallocate(fd, mode, offset, length)
    with fails("EOPNOTSUPP"):
        fallocate(fd, FALLOC_PUNCH_HOLE, 0, 10)
    with fails("EFBIG"):
        fallocate(fd, 0, 1 << 60, 1)
    readable = os.open(mnt / "f0", os.O_RDONLY)
    with fails("EBADF"):
        fallocate(readable, 0, 0, 10)
    os.close(readable)


@pytest.mark.parametrize("mode", [FALLOC_COLLAPSE_RANGE, FALLOC_INSERT_RANGE])
@pytest.mark.parametrize("size", [50_000, 3 * UNIT, 3 * UNIT + 12345])
def test_collapse_and_insert(open_file, mode, size):
    rng = random.Random(size + mode)
    model = bytearray(data(size))
    fd = open_file(model)
    for _ in range(8):
        block = rng.choice([4096, 4096, UNIT if size > UNIT else 4096])
        offset = rng.randrange(len(model)) // block * block
        length = block * rng.randrange(1, 3)
        if mode == FALLOC_COLLAPSE_RANGE:
            if offset + length >= len(model):
                with fails("EINVAL"):
                    change_range(fd, mode, offset, length)
                continue
            change_range(fd, mode, offset, length)
            del model[offset:offset + length]
        else:
            change_range(fd, mode, offset, length)
            model[offset:offset] = bytes(length)
        assert content_of(fd) == model
    os.pwrite(fd, b"after", len(model))
    assert content_of(fd) == model + b"after"


def test_collapse_and_insert_refusals(open_file, mnt):
    fd = open_file(data(100_000))
    for mode in (FALLOC_COLLAPSE_RANGE, FALLOC_INSERT_RANGE):
        for offset, length in ((1, 4096), (4096, 1), (0, 0), (102_400, 4096)):
            with fails("EINVAL"):
                change_range(fd, mode, offset, length)
        readable = os.open(mnt / "f0", os.O_RDONLY)
        with fails("EBADF"):
            change_range(readable, mode, 0, 4096)
        os.close(readable)
    assert content_of(fd) == data(100_000)


# ---- copy_file_range

@pytest.mark.parametrize("source, target, length", [
    (0, 0, 5 * MIB), (1, 2, 3 * MIB + 1), (4096, 8192, 4096), (100, 3 * MIB, 10), (0, UNIT, UNIT)])
def test_copy_file_range(open_file, source, target, length):
    one, two = open_file(data(5 * MIB)), open_file(data(MIB, 2))
    model = bytearray(max(MIB, target + min(length, 5 * MIB - source)))
    model[:MIB] = data(MIB, 2)
    done = 0
    while done < length:
        got = os.copy_file_range(one, two, length - done, source + done, target + done)
        if got == 0:
            break
        done += got
    assert done == min(length, 5 * MIB - source)
    model[target:target + done] = data(5 * MIB)[source:source + done]
    assert content_of(two) == model
    assert content_of(one) == data(5 * MIB)


def test_copy_within_a_file(open_file):
    fd = open_file(data(300_000))
    assert os.copy_file_range(fd, fd, 50_000, 0, 100_000) == 50_000
    expected = bytearray(data(300_000))
    expected[100_000:150_000] = expected[:50_000]
    assert content_of(fd) == expected
    with fails("EINVAL"):
        os.copy_file_range(fd, fd, 50_000, 0, 10_000)


def test_copy_of_holes(open_file):
    one, two = open_file(), open_file(data(10 * MIB))
    os.pwrite(one, b"x" * 10, 6 * MIB)
    os.ftruncate(one, 10 * MIB)
    done = 0
    while done < 10 * MIB:
        done += os.copy_file_range(one, two, 10 * MIB - done, done, done)
    assert content_of(two) == content_of(one)


def test_copy_past_the_end(open_file):
    one, two = open_file(b"12345"), open_file()
    assert os.copy_file_range(one, two, 100, 3, 0) == 2
    assert os.copy_file_range(one, two, 100, 5, 0) == 0
    assert content_of(two) == b"45"


# ---- where it lies

def test_large_files_are_whole_units(mnt):
    (mnt / "f").write_bytes(data(3 * UNIT))
    for extent in extents(mnt / "f"):
        assert extent.flags & 2 and extent.device_offset % UNIT == extent.file_offset % UNIT == 0


def test_extents_cover_what_has_data(open_file, mnt):
    fd = open_file()
    os.ftruncate(fd, 20 * MIB)
    for place in (0, 5 * MIB, 19 * MIB):
        os.pwrite(fd, data(20_000), place)
    covered = [(extent.file_offset, extent.file_offset + extent.length)
               for extent in extents(mnt / "f0")]
    for place in (0, 5 * MIB, 19 * MIB):
        assert all(any(start <= at < end for start, end in covered)
                   for at in range(place, place + 20_000, 1000))
