# SPDX-License-Identifier: BSD-3-Clause
"""Regular files: names, open flags, reading and writing."""

import mmap
import os
import random
import stat

import pytest

from support.process import concurrently, fails
from support.pool import MIB

POOL_MODES = {"cached": ["dax=never"], "dax": ["dax=always"]}

# Around the inode's own space, blocks, 16 blocks, the growth to a unit, units, requests.
SIZES = [0, 1, 127, 128, 129, 4095, 4096, 4097, 65535, 65536, 65537, 262143, 262145, MIB - 1,
         MIB + 1, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 7 * MIB + 12345]


def data(size, seed=1):
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("size", SIZES)
def test_write_whole_read_back(mnt, pool, size):
    content = data(size)
    (mnt / "f").write_bytes(content)
    assert (mnt / "f").stat().st_size == size
    assert (mnt / "f").read_bytes() == content


def test_contents_after_remount(mnt, pool):
    for size in SIZES:
        (mnt / str(size)).write_bytes(data(size))
    pool.remount()
    for size in SIZES:
        assert (mnt / str(size)).read_bytes() == data(size)


@pytest.mark.parametrize("step", [1, 100, 4096, 5000, 100_000])
def test_growing_in_steps(mnt, step):
    content = data(step * 60)
    with open(mnt / "f", "wb", buffering=0) as out:
        for at in range(0, len(content), step):
            assert out.write(content[at:at + step]) == step
    assert (mnt / "f").read_bytes() == content


def test_random_overwrites(mnt):
    rng = random.Random(2)
    model = bytearray(5 * MIB)
    fd = os.open(mnt / "f", os.O_RDWR | os.O_CREAT)
    for _ in range(300):
        offset = rng.randrange(len(model))
        piece = rng.randbytes(min(rng.choice([1, 7, 512, 4096, 10_000, 300_000]), len(model) - offset))
        assert os.pwrite(fd, piece, offset) == len(piece)
        model[offset:offset + len(piece)] = piece
        at = rng.randrange(len(model))
        size = os.fstat(fd).st_size
        assert os.pread(fd, 5000, at) == model[at:min(at + 5000, size)]
    os.close(fd)
    content = (mnt / "f").read_bytes()
    assert content == model[:len(content)]


def test_read_past_the_end(mnt):
    (mnt / "f").write_bytes(b"12345")
    fd = os.open(mnt / "f", os.O_RDONLY)
    assert os.pread(fd, 100, 3) == b"45"
    assert os.pread(fd, 100, 5) == b""
    assert os.pread(fd, 100, 1 << 40) == b""
    os.close(fd)


def test_vectors(mnt):
    fd = os.open(mnt / "f", os.O_RDWR | os.O_CREAT)
    pieces = [data(size, size) for size in (1, 4095, 10_000, 3, 70_000)]
    assert os.pwritev(fd, pieces, 17) == sum(map(len, pieces))
    buffers = [bytearray(len(piece)) for piece in pieces]
    assert os.preadv(fd, buffers, 17) == sum(map(len, pieces))
    assert buffers == pieces
    os.close(fd)


def test_open_flags(mnt):
    with fails("ENOENT"):
        os.open(mnt / "f", os.O_RDWR)
    fd = os.open(mnt / "f", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
    assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o640
    os.write(fd, b"content")
    os.close(fd)
    with fails("EEXIST"):
        os.open(mnt / "f", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    with fails("ENOTDIR"):
        os.open(mnt / "f", os.O_RDONLY | os.O_DIRECTORY)
    with fails("ENOTDIR"):
        os.open(mnt / "f/below", os.O_RDONLY)
    fd = os.open(mnt / "f", os.O_RDONLY)
    with fails("EBADF"):
        os.write(fd, b"x")
    os.close(fd)
    os.close(os.open(mnt / "f", os.O_WRONLY | os.O_TRUNC))
    assert (mnt / "f").stat().st_size == 0
    (mnt / "d").mkdir()
    with fails("EISDIR"):
        os.open(mnt / "d", os.O_WRONLY)
    os.symlink("f", mnt / "s")
    with fails("ELOOP"):
        os.open(mnt / "s", os.O_RDONLY | os.O_NOFOLLOW)


@pytest.mark.parametrize("name", [
    "x" * 255, "ä" * 127, b"\xff\xfe bad UTF-8 \x80", "new\nline", " ", "...", "-rf", "\\", "*?[", "a" * 44,
    "a" * 45, "a" * 107, "a" * 108, "a" * 109])
def test_names(mnt, name):
    path = os.path.join(os.fsencode(mnt), os.fsencode(name))
    with open(path, "wb") as out:
        out.write(path)
    assert os.listdir(os.fsencode(mnt)) == [os.fsencode(name)]
    with open(path, "rb") as file:
        assert file.read() == path
    os.unlink(path)
    assert os.listdir(mnt) == []


def test_names_too_long(mnt):
    for make in (os.mkdir, os.mknod, lambda path: os.symlink("x", path),
                 lambda path: os.link(mnt / "f", path), lambda path: os.rename(mnt / "f", path),
                 os.stat, os.unlink):
        (mnt / "f").touch()
        with fails("ENAMETOOLONG"):
            make(mnt / ("x" * 256))


def test_case_and_similar_names(mnt):
    names = ["a", "A", "aa", "a ", "a.", ".a", "a\u0308", "ä"]
    for name in names:
        (mnt / name).write_text(name)
    assert sorted(os.listdir(mnt)) == sorted(names)
    for name in names:
        assert (mnt / name).read_text() == name


def test_append(mnt):
    fd = os.open(mnt / "f", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    other = os.open(mnt / "f", os.O_WRONLY)
    os.write(fd, b"one ")
    os.write(other, b"ONE two ")
    os.write(fd, b"three ")
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, b"four")
    assert os.pread(fd, 100, 0) == b"ONE two three four"
    os.close(fd)
    os.close(other)


def test_append_from_many_processes(mnt):
    """Every record is there, whole, and in its writer's order."""
    def writer(number):
        fd = os.open(mnt / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for i in range(300):
            os.write(fd, b"%d:%d:%s\n" % (number, i, b"." * (i % 200)))
        os.close(fd)

    concurrently(writer, range(4))
    seen = [0] * 4
    for line in (mnt / "log").read_bytes().splitlines():
        number, i, dots = line.split(b":")
        assert int(i) == seen[int(number)] and dots == b"." * (int(i) % 200)
        seen[int(number)] += 1
    assert seen == [300] * 4


def test_writers_side_by_side(mnt):
    """Processes that extend one file in interleaved blocks do not disturb one another."""
    block = 3000

    def writer(number):
        fd = os.open(mnt / "f", os.O_WRONLY | os.O_CREAT)
        for i in range(number, 200, 4):
            os.pwrite(fd, bytes([i]) * block, i * block)
        os.close(fd)

    concurrently(writer, range(4))
    assert (mnt / "f").read_bytes() == b"".join(bytes([i]) * block for i in range(200))


@pytest.mark.parametrize("flag", ["O_SYNC", "O_DSYNC"])
def test_sync_flags(mnt, flag):
    fd = os.open(mnt / "f", os.O_RDWR | os.O_CREAT | getattr(os, flag))
    os.write(fd, data(10_000))
    os.fsync(fd)
    os.fdatasync(fd)
    assert os.pread(fd, 10_000, 0) == data(10_000)
    os.close(fd)


def test_sync_calls(mnt):
    (mnt / "f").write_bytes(b"x")
    fd = os.open(mnt, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)
    os.sync()


def test_direct_io(mnt):
    """Aligned, beside ordinary descriptors that must see it at once."""
    buffer = mmap.mmap(-1, MIB)
    buffer[:] = data(MIB)
    (mnt / "f").write_bytes(data(3 * MIB, 2))
    plain = os.open(mnt / "f", os.O_RDWR)
    assert os.pread(plain, 100, MIB) == data(3 * MIB, 2)[MIB:MIB + 100]
    fd = os.open(mnt / "f", os.O_RDWR | os.O_DIRECT)
    assert os.pwrite(fd, buffer, MIB) == MIB
    assert os.pread(plain, MIB, MIB) == data(MIB)
    os.pwrite(plain, b"seen", MIB)
    assert os.preadv(fd, [buffer], MIB) == MIB
    assert buffer[:4] == b"seen" and buffer[4:] == data(MIB)[4:]
    assert os.preadv(fd, [buffer], 3 * MIB - 4096) == 4096
    os.close(fd)
    os.close(plain)


def test_two_descriptors_see_each_other(mnt):
    one = os.open(mnt / "f", os.O_RDWR | os.O_CREAT)
    two = os.open(mnt / "f", os.O_RDWR)
    for i in range(50):
        os.pwrite(one, bytes([i]) * 1000, i * 1000)
        assert os.pread(two, 1000, i * 1000) == bytes([i]) * 1000
        assert os.fstat(two).st_size == (i + 1) * 1000
    os.ftruncate(two, 10)
    assert os.pread(one, 100, 0) == bytes(10)
    os.close(one)
    os.close(two)


def test_largest_size(mnt):
    fd = os.open(mnt / "f", os.O_RDWR | os.O_CREAT)
    end = 1 << 60
    os.ftruncate(fd, end)
    assert os.fstat(fd).st_size == end
    os.pwrite(fd, b"last", end - 4)
    assert os.pread(fd, 100, end - 8) == bytes(4) + b"last"
    with fails("EFBIG"):
        os.pwrite(fd, b"x", end)
    with fails("EFBIG"):
        os.ftruncate(fd, end + 1)
    assert os.fstat(fd).st_size == end
    assert os.fstat(fd).st_blocks < 100
    os.close(fd)


def test_blocks_are_counted(mnt):
    (mnt / "f").write_bytes(data(3 * MIB))
    assert 3 * MIB <= (mnt / "f").stat().st_blocks * 512 <= 6 * MIB
    (mnt / "g").write_bytes(data(10_000))
    assert 3 * 4096 <= (mnt / "g").stat().st_blocks * 512 <= 4 * 4096
    (mnt / "empty").touch()
    assert (mnt / "empty").stat().st_blocks == 0


def test_many_open_files(mnt):
    fds = [os.open(mnt / str(i), os.O_RDWR | os.O_CREAT) for i in range(500)]
    for i, fd in enumerate(fds):
        os.write(fd, b"%d" % i)
    for i, fd in enumerate(fds):
        assert os.pread(fd, 100, 0) == b"%d" % i
        os.close(fd)


def test_inode_numbers_are_unique(mnt):
    for i in range(300):
        (mnt / str(i)).touch()
    numbers = {entry.inode() for entry in os.scandir(mnt)}
    assert len(numbers) == 300
    assert numbers == {(mnt / str(i)).stat().st_ino for i in range(300)}


def test_inode_numbers_stay(mnt, pool):
    (mnt / "f").touch()
    before = (mnt / "f").stat().st_ino
    os.rename(mnt / "f", mnt / "g")
    pool.remount()
    assert (mnt / "g").stat().st_ino == before


def test_readahead_and_seeks(mnt):
    """A large file read forwards, backwards and by several processes."""
    content = data(12 * MIB)
    (mnt / "f").write_bytes(content)

    def reader(order):
        with open(mnt / "f", "rb", buffering=0) as file:
            for at in range(0, len(content), 100_000)[::order]:
                file.seek(at)
                if file.read(100_000) != content[at:at + 100_000]:
                    return at
        return None

    assert concurrently(reader, [1, -1, 3, -7]) == [None] * 4


def test_sendfile_and_splice(mnt):
    content = data(300_000)
    (mnt / "in").write_bytes(content)
    source = os.open(mnt / "in", os.O_RDONLY)
    out = os.open(mnt / "out", os.O_RDWR | os.O_CREAT)
    done = 0
    while done < len(content):
        done += os.sendfile(out, source, done, len(content) - done)
    assert (mnt / "out").read_bytes() == content
    read, write = os.pipe()
    done = 0
    while done < len(content):
        moved = os.splice(source, write, 65536, offset_src=done)
        while moved:
            step = os.splice(read, out, moved, offset_dst=100 + done)
            done += step
            moved -= step
    for fd in (source, out, read, write):
        os.close(fd)
    assert (mnt / "out").read_bytes() == content[:100] + content
