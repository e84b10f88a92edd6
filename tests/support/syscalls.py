# SPDX-License-Identifier: BSD-3-Clause
"""System calls and ioctls that Python does not have; all raise OSError."""

import ctypes
import fcntl
import os
import struct
from collections import namedtuple

libc = ctypes.CDLL(None, use_errno=True)

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_FOLLOW = 0x400

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

FALLOC_KEEP_SIZE = 1
FALLOC_PUNCH_HOLE = 2
FALLOC_COLLAPSE_RANGE = 8
FALLOC_ZERO_RANGE = 16
FALLOC_INSERT_RANGE = 32


def _check(result, *names):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), *names)
    return result


def renameat2(old, new, flags=0):
    _check(libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags), str(old))


def idmapped(path, namespace):
    """A descriptor of a nameless mount of `path` whose owners are translated as that user namespace (a
    descriptor) does it."""
    open_tree, mount_setattr, clone, cloexec, idmap = 428, 442, 1, os.O_CLOEXEC, 0x100000
    tree = _check(libc.syscall(open_tree, AT_FDCWD, os.fsencode(path), clone | cloexec), str(path))
    attributes = struct.pack("<4Q", idmap, 0, 0, namespace)
    try:
        _check(libc.syscall(mount_setattr, tree, b"", AT_EMPTY_PATH, attributes, len(attributes)), str(path))
    except OSError:
        os.close(tree)
        raise
    return tree


def link_fd(fd, new):
    """Give a name to an open file without one."""
    _check(libc.linkat(AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD, os.fsencode(new),
                       AT_SYMLINK_FOLLOW), str(new))


def fallocate(fd, mode, offset, length):
    _check(libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)))


Dirent = namedtuple("Dirent", "ino next type name")


def getdents(fd, size):
    """One getdents64() into a buffer of that size."""
    buffer = ctypes.create_string_buffer(size)
    got = _check(libc.syscall(217, fd, buffer, size))
    entries, at = [], 0
    while at < got:
        ino, after, length, kind = struct.unpack_from("QqHB", buffer, at)
        name = buffer.raw[at + 19:at + length].split(b"\0", 1)[0]
        entries.append(Dirent(ino, after, kind, os.fsdecode(name)))
        at += length
    return entries


Statx = namedtuple("Statx", "mask attributes btime mtime atime ctime size blocks ino")


AT_STATX_DONT_SYNC = 0x4000


def statx(path, mask=0xfff, flags=0):
    """Times in nanoseconds. With AT_STATX_DONT_SYNC: what the kernel believes, whatever may be."""
    buffer = ctypes.create_string_buffer(256)
    _check(libc.statx(AT_FDCWD, os.fsencode(path), 0x100 | flags, mask, buffer), str(path))
    got, _, attributes = struct.unpack_from("IIQ", buffer, 0)
    ino, size, blocks = struct.unpack_from("QQQ", buffer, 32)

    def time_at(offset):
        seconds, fraction = struct.unpack_from("qI", buffer, offset)
        return seconds * 10 ** 9 + fraction

    return Statx(got, attributes, time_at(80), time_at(112), time_at(64), time_at(96), size, blocks, ino)


# ---- ioctls

FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FS_IOC_FSGETXATTR = 0x801c581f
FS_IOC_FSSETXATTR = 0x401c5820

FS_SYNC_FL = 0x8
FS_IMMUTABLE_FL = 0x10
FS_APPEND_FL = 0x20
FS_NODUMP_FL = 0x40
FS_NOATIME_FL = 0x80

XFLAG_IMMUTABLE = 0x8
XFLAG_APPEND = 0x10
XFLAG_SYNC = 0x20
XFLAG_NOATIME = 0x40
XFLAG_NODUMP = 0x80
XFLAG_PROJINHERIT = 0x200
XFLAG_EXTSIZE = 0x800
XFLAG_EXTSZINHERIT = 0x1000
XFLAG_DAX = 0x8000

DXF_IOC_RANGE = 0x4018df06
DXF_IOC_EXTENTS = 0xd010df01

Xflags = namedtuple("Xflags", "flags extsize extents project")
Extent = namedtuple("Extent", "file_offset device_offset length flags")


def _ioctl(path, request, argument):
    fd = path if isinstance(path, int) else os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return fcntl.ioctl(fd, request, argument)
    finally:
        if fd is not path:
            os.close(fd)


def get_flags(path):
    return struct.unpack("i", _ioctl(path, FS_IOC_GETFLAGS, bytes(8))[:4])[0]


def set_flags(path, flags):
    _ioctl(path, FS_IOC_SETFLAGS, struct.pack("q", flags))


def get_xflags(path):
    return Xflags(*struct.unpack("IIII", _ioctl(path, FS_IOC_FSGETXATTR, bytes(28))[:16]))


def set_xflags(path, flags=0, extsize=0, project=0):
    _ioctl(path, FS_IOC_FSSETXATTR, struct.pack("IIIII8x", flags, extsize, 0, project, 0))


def change_range(fd, mode, offset, length):
    """Collapse or insert: modes that the kernel does not pass on to FUSE."""
    _ioctl(fd, DXF_IOC_RANGE, struct.pack("IIQQ", mode, 0, offset, length))


def extents(path):
    """Where a file's bytes lie."""
    found, start = [], 0
    while start != 2 ** 64 - 1:
        answer = bytearray(struct.pack("QQ", start, 0) + bytes(128 * 32))
        fd = os.open(path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, DXF_IOC_EXTENTS, answer)
        finally:
            os.close(fd)
        start, count = struct.unpack_from("QQ", answer)
        found += [Extent(*struct.unpack_from("QQQQ", answer, 16 + 32 * i)) for i in range(count)]
    return found
