# SPDX-License-Identifier: BSD-3-Clause
"""ioctls of a guest (lsattr, chattr, xfs_io), and what its groups mean."""

import fcntl
import itertools
import os
import stat
import struct

import pytest

from support import vhost
from support.process import fails
from support.syscalls import FS_IMMUTABLE_FL, XFLAG_DAX, get_flags, set_flags
from support.vhost import ROOT

GETFLAGS, SETFLAGS = 0x80086601, 0x40086602
GETXATTR, SETXATTR = 0x801c581f, 0x401c5820
GETFLAGS_32 = 0x80046601
NODUMP, APPEND, DAX = 0x40, 0x20, 0x02000000
XFLAG_IMMUTABLE, XFLAG_NODUMP, XFLAG_PROJINHERIT = 8, 0x80, 0x200
DIR = 1 << 4  # FUSE_IOCTL_DIR


def flags_of(guest, node, fh, size=4):
    return int.from_bytes(guest.ioctl(node, fh, GETFLAGS, room=size), "little")


def set_guest_flags(guest, node, fh, flags):
    guest.ioctl(node, fh, SETFLAGS, struct.pack("I", flags))


def xattr_of(guest, node, fh):
    """xflags, extsize, nextents, projid."""
    return list(struct.unpack("4I12x", guest.ioctl(node, fh, GETXATTR, room=28)))


def set_guest_xattr(guest, node, fh, xflags, extsize=0, project=0):
    guest.ioctl(node, fh, SETXATTR, struct.pack("4I12x", xflags, extsize, 0, project))


def test_flags(guest, mnt):
    """Both pairs, seen by the host at once."""
    node, _, fh = guest.create(ROOT, "f")
    path = mnt / "f"
    assert flags_of(guest, node, fh) == flags_of(guest, node, fh, 8) == 0
    set_guest_flags(guest, node, fh, NODUMP | DAX)
    assert flags_of(guest, node, fh) == NODUMP | DAX == get_flags(path)
    set_flags(path, NODUMP)
    assert flags_of(guest, node, fh) == NODUMP
    xflags, extsize, _, project = xattr_of(guest, node, fh)
    assert (xflags, extsize, project) == (XFLAG_NODUMP, 0, 0)
    set_guest_xattr(guest, node, fh, XFLAG_DAX)
    assert get_flags(path) == DAX
    with fails("EOPNOTSUPP"):
        set_guest_flags(guest, node, fh, 1)
    guest.release(node, fh)


def test_of_directories(guest, mnt):
    """They have no handle."""
    node, _ = guest.mkdir(ROOT, "d")
    guest.ioctl(node, 0, SETFLAGS, struct.pack("I", NODUMP), flags=DIR)
    assert int.from_bytes(guest.ioctl(node, 0, GETFLAGS, room=4, flags=DIR), "little") == NODUMP
    assert get_flags(mnt / "d") == NODUMP


def test_what_binds_everybody_stays(guest, mnt):
    """A guest's root is not the host's: it neither makes nor takes away what holds for both, nor moves projects."""
    node, _, fh = guest.create(ROOT, "f")
    folder, _ = guest.mkdir(ROOT, "d")
    for flag in (FS_IMMUTABLE_FL, APPEND):
        with fails("EPERM"):
            set_guest_flags(guest, node, fh, flag)
    with fails("EPERM"):
        set_guest_xattr(guest, node, fh, XFLAG_IMMUTABLE)
    with fails("EPERM"):
        set_guest_xattr(guest, node, fh, 0, project=7)
    with fails("EPERM"):
        guest.ioctl(folder, 0, SETXATTR, struct.pack("4I12x", XFLAG_PROJINHERIT, 0, 0, 0))
    set_flags(mnt / "f", FS_IMMUTABLE_FL)
    try:
        with fails("EPERM"):
            set_guest_flags(guest, node, fh, 0)
        assert flags_of(guest, node, fh) == FS_IMMUTABLE_FL
        set_guest_flags(guest, node, fh, FS_IMMUTABLE_FL | NODUMP)  # as on ext4: other flags may change
    finally:
        set_flags(mnt / "f", 0)


def test_nothing_else(guest, mnt):
    """Neither our own ioctls, which are about the host's mount, nor what the guest's kernel checks nobody for."""
    node, _, fh = guest.create(ROOT, "f")
    for kind, direction, size in itertools.product(range(32), range(4), (0, 4, 8, 200, 512)):
        with fails("ENOTTY"):
            guest.ioctl(node, fh, direction << 30 | size << 16 | 0xdf << 8 | kind)
    for number in (GETFLAGS_32, 0x40046602, 0x5401, 0x1268, 0):
        with fails("ENOTTY"):
            guest.ioctl(node, fh, number, room=4)


def test_wrong_lengths_and_handles(guest, report, mnt):
    node, _, fh = guest.create(ROOT, "f")
    other, _, other_fh = guest.create(ROOT, "g")
    for number, size in ((SETFLAGS, 0), (SETFLAGS, 3), (SETFLAGS, 9), (SETXATTR, 27), (SETXATTR, 4096)):
        with fails("EINVAL"):
            guest.ioctl(node, fh, number, bytes(size))
    for number, room in ((GETFLAGS, 0), (GETFLAGS, 9), (GETXATTR, 27), (GETXATTR, 1 << 20)):
        with fails("EINVAL"):
            guest.call(vhost.IOCTL, node, struct.pack("QIIQII", fh, 0, number, 0, 0, room))
    for handle in (other_fh, 0, 1 << 63, fh + 1000):
        with fails("EBADF"):
            flags_of(guest, node, handle)
    with fails("EINVAL"):  # more is said to follow than does
        guest.call(vhost.IOCTL, node, struct.pack("QIIQII", fh, 0, SETFLAGS, 0, 8, 0) + bytes(4))
    with fails("EINVAL"):
        guest.call(vhost.IOCTL, node, bytes(31))
    with fails("ENOBUFS"):
        guest.call(vhost.IOCTL, node, struct.pack("QIIQII", fh, 0, GETXATTR, 0, 0, 28), room=20)
    with fails("ESTALE"):
        flags_of(guest, 1 << 40, fh)
    assert get_flags(mnt / "f") == 0


def test_read_only(export, connect, mnt):
    (mnt / "f").touch()
    guest = connect(export("--readonly"))
    node, _ = guest.lookup(ROOT, "f")
    fh = guest.open(node, os.O_RDONLY)
    assert flags_of(guest, node, fh) == 0
    with fails("EROFS"):
        set_guest_flags(guest, node, fh, NODUMP)


@pytest.mark.skipif(os.geteuid() != 0, reason="is several users")
def test_groups(connect, export, mnt):
    """Whether a user is in a group the guest's kernel knows, and has settled before it asks: what is made in a
    folder that hands its group on has that group, and the mode that was asked for."""
    guest = connect(export(), uid=1000, gid=1000)
    os.mkdir(mnt / "shared")
    os.chown(mnt / "shared", 0, 500)
    os.chmod(mnt / "shared", 0o2777)
    folder, _ = guest.lookup(ROOT, "shared")
    node, attr, fh = guest.create(folder, "member", mode=0o102775, umask=0)
    assert (attr["uid"], attr["gid"], stat.S_IMODE(attr["mode"])) == (1000, 500, 0o2775)
    made, attr, other = guest.create(folder, "stranger", mode=0o100775, umask=0)
    assert (attr["gid"], stat.S_IMODE(attr["mode"])) == (500, 0o775)
    sub, attr = guest.mkdir(folder, "d", mode=0o777, umask=0)
    assert (attr["gid"], stat.S_IMODE(attr["mode"])) == (500, 0o2777)
    assert os.stat(mnt / "shared/member").st_mode & 0o7777 == 0o2775


def test_locks_are_the_guests(guest, mnt):
    """Its kernel has them by itself, as it is not told otherwise, and so has the host's."""
    assert not guest.agreed[3] & (1 << 1 | 1 << 10)  # FUSE_POSIX_LOCKS, FUSE_FLOCK_LOCKS
    (mnt / "f").touch()
    node, _ = guest.lookup(ROOT, "f")
    for opcode in (31, 32, 33):  # GETLK, SETLK, SETLKW
        with fails("ENOSYS"):
            guest.call(opcode, node, struct.pack("QQQQIIII", 1, 1, 0, 100, fcntl.F_WRLCK, 1, 0, 0))
