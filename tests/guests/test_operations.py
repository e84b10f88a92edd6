# SPDX-License-Identifier: BSD-3-Clause
"""Each request of a guest, and what the host sees of it; and the other way round."""

import errno
import os
import stat
import struct

import pytest

from support.pool import MIB
from support.vhost import (GID, MODE, MTIME, PROTOCOL, ROOT, SIZE, UID, VERSION_1, DESTROY, FLUSH,
                           FSYNCDIR, OPCODES, OPENDIR, RELEASEDIR, SETUPMAPPING, STATX, SYNCFS)

NOREPLACE, EXCHANGE = 1, 2
PUNCH, KEEP_SIZE = 2, 1


def error_of(function, *args, **kwargs):
    with pytest.raises(OSError) as caught:
        function(*args, **kwargs)
    return caught.value.errno


@pytest.fixture(params=["direct", "indirect", "no event index", "in pieces"])
def anyhow(request, connect):
    """The ways in which a driver may put a request."""
    if request.param == "no event index":
        return connect(features=PROTOCOL | VERSION_1)
    guest = connect()
    guest.indirect = request.param == "indirect"
    guest.pieces = 5 if request.param == "in pieces" else 1
    return guest


def test_what_is_agreed_on(guest):
    major, minor, _, flags, *_, max_write, granularity, pages, alignment, flags2 = guest.agreed
    assert (major, granularity, max_write, pages, alignment) == (7, 1, MIB, 256, 0)
    assert minor >= 36
    for bit in (4, 9, 19, 31):  # handles, locks over the wire, submounts; reserved
        assert not flags & (1 << bit if bit != 9 else 1 << 1)
    assert not flags2 & (1 << (33 - 32))  # no DAX window


def test_a_file_from_both_sides(anyhow, mnt):
    node, attr, fh = anyhow.create(ROOT, "f", mode=0o640)
    assert stat.S_IMODE(attr["mode"]) == 0o640 and attr["nlink"] == 1
    assert anyhow.write(node, fh, b"from the guest") == 14
    assert (mnt / "f").read_bytes() == b"from the guest"
    (mnt / "f").write_bytes(b"from the host")
    assert anyhow.read(node, fh) == b"from the host"
    anyhow.release(node, fh)
    (mnt / "g").write_bytes(b"of the host")
    other, _ = anyhow.lookup(ROOT, "g")
    fh = anyhow.open(other, os.O_RDONLY)
    assert anyhow.read(other, fh, offset=3) == b"the host"
    anyhow.release(other, fh)


def test_large_reads_and_writes(anyhow, mnt):
    data = os.urandom(MIB)
    node, _, fh = anyhow.create(ROOT, "large")
    for i in range(3):
        assert anyhow.write(node, fh, data, i * MIB) == MIB
    assert (mnt / "large").read_bytes() == data * 3
    assert anyhow.read(node, fh, MIB // 2, MIB) == (data * 2)[MIB // 2:][:MIB]
    assert anyhow.read(node, fh, 3 * MIB - 7, MIB) == data[-7:]
    assert anyhow.read(node, fh, 3 * MIB, MIB) == b""
    anyhow.release(node, fh)


def test_names(guest, mnt):
    node, attr = guest.mkdir(ROOT, "d", mode=0o777)
    assert stat.S_ISDIR(attr["mode"]) and stat.S_IMODE(attr["mode"]) == 0o755
    guest.mknod(node, "f")
    guest.symlink(node, "s", "f")
    guest.mknod(node, "p", mode=stat.S_IFIFO | 0o600)
    guest.mknod(node, "c", mode=stat.S_IFCHR | 0o600, rdev=(0x12 << 8) | 0x34 | (0x56 << 20))
    assert sorted(os.listdir(mnt / "d")) == ["c", "f", "p", "s"]
    assert os.readlink(mnt / "d/s") == "f"
    assert stat.S_ISFIFO(os.stat(mnt / "d/p").st_mode)
    device = os.stat(mnt / "d/c").st_rdev
    assert (os.major(device), os.minor(device)) == (0x12, 0x5634)
    assert guest.getattr(guest.walk("d/c"))["rdev"] == (0x12 << 8) | 0x34 | (0x56 << 20)
    assert guest.readlink(guest.walk("d/s")) == "f"
    file = guest.walk("d/f")
    _, attr = guest.link(file, ROOT, "hard")
    assert attr["nlink"] == 2 and os.stat(mnt / "hard").st_ino == os.stat(mnt / "d/f").st_ino
    guest.unlink(node, "f")
    assert os.stat(mnt / "hard").st_nlink == 1
    assert error_of(guest.rmdir, ROOT, "d") == errno.ENOTEMPTY
    for name in "sPc".lower():
        guest.unlink(node, name)
    guest.rmdir(ROOT, "d")
    assert os.listdir(mnt) == ["hard"]
    assert error_of(guest.lookup, ROOT, "d") == errno.ENOENT


def test_renames(guest, mnt):
    for name in "ab":
        (mnt / name).write_text(name)
    node, _ = guest.mkdir(ROOT, "d")
    guest.rename(ROOT, "a", node, "c")
    assert (mnt / "d/c").read_text() == "a" and not (mnt / "a").exists()
    assert error_of(guest.rename, node, "c", ROOT, "b", flags=NOREPLACE) == errno.EEXIST
    guest.rename(node, "c", ROOT, "b", flags=EXCHANGE)
    assert ((mnt / "d/c").read_text(), (mnt / "b").read_text()) == ("b", "a")
    guest.rename(node, "c", ROOT, "b")
    assert (mnt / "b").read_text() == "b" and os.listdir(mnt / "d") == []
    assert error_of(guest.rename, ROOT, "b", ROOT, "x", flags=8) == errno.EINVAL


def test_attributes(guest, mnt):
    node, _, fh = guest.create(ROOT, "f")
    guest.setattr(node, MODE | UID | GID, mode=0o4711, uid=12, gid=34)
    guest.setattr(node, MTIME, mtime=1234567890, mtimensec=987654321)
    guest.setattr(node, SIZE, size=5000)
    found = os.stat(mnt / "f")
    assert (found.st_size, found.st_uid, found.st_gid) == (5000, 12, 34)
    assert guest.setattr(node, MTIME, mtime=1, mtimensec=2)["mtimensec"] == 2
    assert os.stat(mnt / "f").st_mtime_ns == 10 ** 9 + 2
    os.utime(mnt / "f", ns=(5, 6 * 10 ** 9 + 7))
    attr = guest.getattr(node)
    assert (attr["mtime"], attr["mtimensec"], attr["size"], attr["uid"]) == (6, 7, 5000, 12)
    assert error_of(guest.setattr, node, MTIME, mtimensec=10 ** 9) == errno.EINVAL
    assert error_of(guest.setattr, node, SIZE, size=1 << 63) == errno.EINVAL
    blocks, free, *_ = guest.statfs()
    assert (blocks, free) == (os.statvfs(mnt).f_blocks, os.statvfs(mnt).f_bfree)
    guest.release(node, fh)


def test_birth_time(guest, mnt):
    node, attr, fh = guest.create(ROOT, "f")
    os.utime(mnt / "f", ns=(1, 2))
    answer = guest.call(STATX, node, struct.pack("IIQII", 0, 0, 0, 0, 0xfff))
    mask, blksize, _, nlink = struct.unpack("IIQI", answer[32:52])
    assert len(answer) == 288 and mask == 0xfff and blksize == 4096 and nlink == 1
    times = [struct.unpack("qI", answer[96 + 16 * i:108 + 16 * i]) for i in range(4)]
    assert times[0] == (0, 1) and times[3] == (0, 2)  # atime, birth, ctime, mtime
    assert times[1] == (attr["ctime"], attr["ctimensec"]) and times[2] > times[1]
    guest.release(node, fh)


def test_owners_and_umask(connect, export):
    guest = connect(export(), uid=70, gid=80)
    node, attr, fh = guest.create(ROOT, "f", mode=0o666, umask=0o27)
    assert (attr["uid"], attr["gid"], stat.S_IMODE(attr["mode"])) == (70, 80, 0o640)
    guest.release(node, fh)


def test_extended_attributes(guest, mnt):
    node, _ = guest.mknod(ROOT, "f")
    guest.setxattr(node, "user.one", b"1")
    guest.setxattr(node, "trusted.two", b"22")
    assert os.getxattr(mnt / "f", "user.one") == b"1"
    assert guest.getxattr(node, "trusted.two") == b"22"
    assert guest.getxattr(node, "user.one", size=0) == b"\1\0\0\0" + bytes(4)
    assert set(guest.listxattr(node).split(b"\0")) == {b"user.one", b"trusted.two", b""}
    assert error_of(guest.getxattr, node, "trusted.two", size=1) == errno.ERANGE
    guest.removexattr(node, "user.one")
    assert error_of(guest.getxattr, node, "user.one") == errno.ENODATA
    assert os.listxattr(mnt / "f") == ["trusted.two"]
    guest.uid = 7
    assert guest.listxattr(node) == b""


def test_directories(guest, mnt):
    names = [f"file-{i:04}" for i in range(300)]
    for name in names:
        (mnt / name).touch()
    found = guest.readdir(ROOT)
    assert set(found) == {".", "..", *names}
    assert found["."] == found[".."] == os.stat(mnt).st_ino
    plus = guest.readdir(ROOT, plus=True)
    assert set(plus) == {".", "..", *names}
    assert plus["."][0] == 0
    for name in names[:5]:
        node, attr = plus[name]
        assert attr["ino"] == os.stat(mnt / name).st_ino and guest.getattr(node)["ino"] == attr["ino"]
    guest.batch_forget(*(node for node, _ in plus.values() if node))


def test_ranges(guest, mnt):
    node, _, fh = guest.create(ROOT, "f")
    guest.write(node, fh, b"x" * 40960)
    guest.fallocate(node, fh, PUNCH | KEEP_SIZE, 4096, 8192)
    assert (mnt / "f").read_bytes() == b"x" * 4096 + bytes(8192) + b"x" * 28672
    assert guest.lseek(node, fh, 0, os.SEEK_HOLE) == 4096
    assert guest.lseek(node, fh, 4096, os.SEEK_DATA) == 12288
    assert error_of(guest.lseek, node, fh, 1 << 40, os.SEEK_DATA) == errno.ENXIO
    guest.fallocate(node, fh, 0, 0, 100000)
    assert os.stat(mnt / "f").st_size == 100000
    other, _, to = guest.create(ROOT, "g")
    assert guest.copy_range(node, fh, 0, other, to, 10, 5000) == 5000
    assert (mnt / "g").read_bytes() == bytes(10) + b"x" * 4096 + bytes(904)
    guest.fsync(node, fh)
    assert error_of(guest.fallocate, node, fh, 0, 0, 0) == errno.EINVAL
    assert error_of(guest.fallocate, node, fh, 0, 1 << 62, 1 << 62) == errno.EINVAL
    guest.release(node, fh)
    guest.release(other, to)


def test_open_truncates(guest, mnt):
    (mnt / "f").write_bytes(b"long ago")
    node, _ = guest.lookup(ROOT, "f")
    guest.release(node, guest.open(node, os.O_WRONLY | os.O_TRUNC))
    assert (mnt / "f").read_bytes() == b""


def test_files_without_names(guest, mnt, pool):
    node, attr, fh = guest.tmpfile(ROOT)
    assert attr["nlink"] == 0 and os.listdir(mnt) == []
    guest.write(node, fh, b"kept")
    guest.link(node, ROOT, "named")
    assert (mnt / "named").read_bytes() == b"kept"
    guest.unlink(ROOT, "named")
    assert guest.read(node, fh) == b"kept"
    guest.release(node, fh)
    assert guest.getattr(node)["nlink"] == 0


def test_what_is_known_lives_on(guest, mnt):
    """Removed by the host: the guest has it as long as it knows it, and nobody else gets its number."""
    (mnt / "f").write_bytes(b"still here")
    ino = os.stat(mnt / "f").st_ino
    node, _ = guest.lookup(ROOT, "f")
    os.unlink(mnt / "f")
    for i in range(50):
        (mnt / f"other{i}").touch()
        assert os.stat(mnt / f"other{i}").st_ino != ino
    fh = guest.open(node, os.O_RDONLY)
    assert guest.read(node, fh) == b"still here"
    guest.release(node, fh)
    guest.forget(node)
    assert error_of(guest.getattr, node) == errno.ESTALE


def test_access_modes(guest, mnt):
    (mnt / "f").write_bytes(b"bytes")
    node, _ = guest.lookup(ROOT, "f")
    reader, writer = guest.open(node, os.O_RDONLY), guest.open(node, os.O_WRONLY)
    assert error_of(guest.write, node, reader, b"x") == errno.EBADF
    assert error_of(guest.fallocate, node, reader, 0, 0, 10) == errno.EBADF
    assert error_of(guest.read, node, writer) == errno.EBADF
    assert error_of(guest.open, node, 3) == errno.EINVAL
    assert error_of(guest.open, ROOT, os.O_RDONLY) == errno.EINVAL
    for fh in (reader, writer):
        guest.release(node, fh)


def test_what_is_not_there(guest):
    """The kernel of a guest does without."""
    for opcode in (FLUSH, SETUPMAPPING):
        assert error_of(guest.call, opcode, ROOT, bytes(64)) == errno.ENOSYS
    for opcode in (FSYNCDIR, RELEASEDIR, SYNCFS):
        assert guest.call(opcode, ROOT, bytes(24)) == b""
    assert len(guest.call(OPENDIR, ROOT, bytes(8))) == 16


@pytest.mark.parametrize("opcode", OPCODES)
def test_error_replies_have_sixteen_bytes(guest, opcode):
    """Of every request, one without arguments to a node that is not there: the answer is a header, or
    none is due. Guests since Linux 7.3 insist on lengths, and on errors in [-511, 0]."""
    answer = guest.raw(opcode, 12345678, b"", 4096)
    if opcode in (2, 36, 42):
        assert answer == b""
    elif opcode == DESTROY:
        assert len(answer) == 16 and answer[4:8] == bytes(4)
    else:
        assert len(answer) == 16
        assert -511 <= int.from_bytes(answer[4:8], "little", signed=True) < 0


# ---- caches ------------------------------------------------------------------------------------


def test_the_host_hears_of_names(guest, mnt):
    """What the kernel of the host has cached, for an hour, is not believed any more."""
    assert not (mnt / "f").exists()
    node, _ = guest.mknod(ROOT, "f")
    assert (mnt / "f").exists() and os.listdir(mnt) == ["f"]
    guest.rename(ROOT, "f", ROOT, "g")
    assert not (mnt / "f").exists() and os.listdir(mnt) == ["g"]
    assert os.stat(mnt / "g").st_nlink == 1
    guest.link(node, ROOT, "h")
    assert os.stat(mnt / "g").st_nlink == 2
    fd = os.open(mnt / "g", os.O_RDONLY)
    guest.unlink(ROOT, "g")
    guest.unlink(ROOT, "h")
    assert not (mnt / "g").exists() and os.listdir(mnt) == []
    assert os.fstat(fd).st_nlink == 0
    os.close(fd)
    before = os.stat(mnt).st_nlink
    guest.mkdir(ROOT, "d")
    assert os.stat(mnt).st_nlink == before + 1
    guest.rmdir(ROOT, "d")
    assert os.stat(mnt).st_nlink == before


def test_the_host_hears_of_data(guest, mnt):
    """Read through the host's page cache, and open there all along."""
    (mnt / "f").write_bytes(b"a" * 10000)
    fd = os.open(mnt / "f", os.O_RDONLY)
    assert os.pread(fd, 20000, 0) == b"a" * 10000
    node, _ = guest.lookup(ROOT, "f")
    fh = guest.open(node)
    guest.write(node, fh, b"b" * 5000, 5000)
    assert os.pread(fd, 20000, 0) == b"a" * 5000 + b"b" * 5000
    guest.write(node, fh, b"c" * 10, 10000)
    assert os.fstat(fd).st_size == 10010
    guest.setattr(node, SIZE, size=5001)
    assert os.pread(fd, 20000, 0) == b"a" * 5000 + b"b"
    guest.fallocate(node, fh, PUNCH | KEEP_SIZE, 0, 4096)
    assert os.pread(fd, 20000, 0) == bytes(4096) + b"a" * 904 + b"b"
    guest.release(node, fh)
    os.close(fd)


def test_the_host_appends_to_the_new_end(guest, mnt):
    """A kernel appends where it believes the end to be."""
    fd = os.open(mnt / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    node, _ = guest.lookup(ROOT, "log")
    fh = guest.open(node)
    expected = b""
    for i in range(5):
        os.write(fd, b"host\n")
        expected += b"host\n"
        guest.write(node, fh, b"guest\n", len(expected))
        expected += b"guest\n"
    os.close(fd)
    assert (mnt / "log").read_bytes() == expected
    guest.release(node, fh)


def test_timeouts(connect, export):
    """What a guest is told to believe."""
    for cache, seconds, how in (("none", 0, 1 | 32 | 64), ("auto", 1, 32), ("always", 3600, 2 | 32)):
        guest = connect(export("--cache", cache))
        data = guest.call(35, ROOT, b"\2\0\0\0" + bytes(12) + f"f-{cache}".encode() + b"\0")
        entry_valid, attr_valid = (int.from_bytes(data[i:i + 8], "little") for i in (16, 24))
        assert (entry_valid, attr_valid) == (seconds, seconds)
        assert int.from_bytes(data[136:140], "little") == how
        assert bool(guest.agreed[3] & 1 << 12) == (cache != "always")  # AUTO_INVAL_DATA
