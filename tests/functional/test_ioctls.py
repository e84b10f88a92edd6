# SPDX-License-Identifier: BSD-3-Clause
"""
Who may call which ioctl, and on what kind of open file: each one as a stranger, as the file's
owner and as root, on descriptors for reading, for writing and for both, and on a folder.
"""

import errno
import fcntl
import os
import re
import struct
from pathlib import Path

import pytest

from support.ioctls import CALLS, OK, answer, number
from support.process import USER, run_as
from support.syscalls import FS_IMMUTABLE_FL, XFLAG_DAX, get_flags, set_flags, set_xflags

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="is several users")

HEADER = Path(__file__).parents[2] / "include/daxfuse/ioctl.h"
STRANGER = USER - 1

IOC32_GETFLAGS = 0x80046601
IOC32_SETFLAGS = 0x40046602


# What is allowed may still fail for what it asks for: that is known as well.
#   EINVAL    RANGE: collapses all of the file; UNPIN: of what is not pinned
#   ENOTCONN  MAP: no session was begun
#   ENODEV    WATCH_READ: is no watcher
#   ENOENT    quotas, EXPORT (of which this is the end of one): there is none
ROWS = """
                    stranger                 owner                    root
                    r      w      rw         r      w      rw         r      w      rw       folder
GETFLAGS            -      -      -          -      -      -          -      -      -        -
SETFLAGS            EPERM  EPERM  EPERM      -      -      -          -      -      -        -
FSGETXATTR          -      -      -          -      -      -          -      -      -        -
FSSETXATTR          EPERM  EPERM  EPERM      -      -      -          -      -      -        -
DXF_IOC_EXTENTS     -      -      -          -      -      -          -      -      -        EISDIR
DXF_IOC_STATUS      -      -      -          -      -      -          -      -      -        -
DXF_IOC_REQUESTS    EPERM  EPERM  EPERM      EPERM  EPERM  EPERM      -      -      -        -
DXF_IOC_QUOTA_GET   EPERM  EPERM  EPERM      EPERM  EPERM  EPERM      -      -      -        -
DXF_IOC_QUOTA_SET   EPERM  EPERM  EPERM      EPERM  EPERM  EPERM      -      -      -        -
DXF_IOC_QUOTA_NEXT  EPERM  EPERM  EPERM      EPERM  EPERM  EPERM      ENOENT ENOENT ENOENT   ENOENT
DXF_IOC_RANGE       EBADF  EINVAL EINVAL     EBADF  EINVAL EINVAL     EBADF  EINVAL EINVAL   EBADF
DXF_IOC_SET_LABEL   EPERM  EPERM  EPERM      EPERM  EPERM  EPERM      -      -      -        -
DXF_IOC_RESTART     EPERM  EPERM  EPERM      EPERM  EPERM  EPERM      -      -      -        -
DXF_IOC_REALIGN     EBADF  -      -          EBADF  -      -          -      -      -        EBADF
DXF_IOC_DIRECT      -      -      -          -      -      -          -      -      -        -
DXF_IOC_MAP         ENOTCONN EACCES ENOTCONN ENOTCONN EACCES ENOTCONN ENOTCONN EACCES ENOTCONN ENOTSUP
DXF_IOC_UNMAP       -      -      -          -      -      -          -      -      -        EBADF
DXF_IOC_PIN         EACCES EACCES EACCES     EACCES EACCES EACCES     EACCES EACCES -        ENOTSUP
DXF_IOC_UNPIN       EINVAL EINVAL EINVAL     EINVAL EINVAL EINVAL     EINVAL EINVAL EINVAL   EBADF
DXF_IOC_PROMOTE     EACCES EACCES -          EACCES EACCES -          EACCES EACCES -        ENOTSUP
DXF_IOC_MAPPED      -      -      -          -      -      -          -      -      -        -
DXF_IOC_WATCH       EPERM  EPERM  EPERM      EPERM  EPERM  EPERM      -      -      -        EBADF
DXF_IOC_WATCH_READ  EPERM  EPERM  EPERM      EPERM  EPERM  EPERM      ENODEV ENODEV ENODEV   EBADF
DXF_IOC_EXPORT      EPERM  EPERM  EPERM      EPERM  EPERM  EPERM      ENOENT ENOENT ENOENT   ENOENT
DXF_IOC_REMOUNT     EPERM  EPERM  EPERM      EPERM  EPERM  EPERM      -      -      -        -
"""
EXPECTED = {row.split()[0]: row.split()[1:] for row in ROWS.splitlines()[3:]}
MODES = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR)


def answers(path, name):
    return [answer(path, mode, name) for mode in MODES]


@pytest.fixture
def target(mnt):
    """A file that anybody may open, of some user, and a folder."""
    os.chmod(mnt, 0o755)
    path = mnt / "f"
    path.touch()
    set_xflags(path, XFLAG_DAX)
    path.write_bytes(bytes(20_000))
    os.chmod(path, 0o666)
    os.chown(path, USER, USER)
    (mnt / "d").mkdir()
    os.chmod(mnt / "d", 0o777)
    os.chown(mnt / "d", USER, USER)
    fd = os.open(mnt, os.O_RDONLY)
    fcntl.ioctl(fd, number(1, 4, 40), struct.pack("Q32x", 7))  # a quota without limits
    os.close(fd)
    return path


def test_all_are_here():
    """An ioctl that is added is in this table, too."""
    defined = set(re.findall(r"#define (DXF_IOC_\w+) _IO[WR]*\(", HEADER.read_text()))
    assert defined == {name for name in CALLS if name.startswith("DXF_")}
    assert set(EXPECTED) == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_who_may_call(target, name):
    found = [*run_as(STRANGER, answers, target, name), *run_as(USER, answers, target, name),
             *answers(target, name), answer(target.parent / "d", os.O_RDONLY, name)]
    assert found == EXPECTED[name]


@pytest.mark.parametrize("name", [name for name in CALLS if "SET" in name or "QUOTA" in name or name in (
    "DXF_IOC_RESTART", "DXF_IOC_REMOUNT", "DXF_IOC_EXPORT", "DXF_IOC_WATCH", "DXF_IOC_WATCH_READ", "DXF_IOC_PIN")])
def test_strangers_on_folders(target, name):
    folder = target.parent / "d"
    assert run_as(STRANGER, answer, folder, os.O_RDONLY, name) not in (OK, "ENOTTY")


@pytest.mark.parametrize("user", [STRANGER, USER, None], ids=["stranger", "owner", "root"])
@pytest.mark.parametrize("mode", MODES, ids=["r", "w", "rw"])
def test_the_32_bit_numbers_are_none(target, user, mode):
    """The kernel translates them for 32-bit programs; from others they pass its check."""

    def call(request, argument):
        fd = os.open(target, mode)
        try:
            fcntl.ioctl(fd, request, argument)
        except OSError as error:
            return errno.errorcode[error.errno]
        finally:
            os.close(fd)
        return OK

    for request in (IOC32_GETFLAGS, IOC32_SETFLAGS):
        for value in (FS_IMMUTABLE_FL, 0):
            got = run_as(user, call, request, struct.pack("I", value)) if user else \
                call(request, struct.pack("I", value))
            assert got == "ENOTTY"
    assert not get_flags(target) & FS_IMMUTABLE_FL


def test_what_root_has_set_stays(target):
    set_flags(target, FS_IMMUTABLE_FL)
    try:
        fd = os.open(target, os.O_RDONLY)
        for direction in range(4):
            for size in (0, 4, 8, 16):
                for index in (1, 2):
                    request = direction << 30 | size << 16 | 0x66 << 8 | index
                    try:
                        run_as(STRANGER, fcntl.ioctl, fd, request, bytes(16))
                    except OSError as error:
                        assert error.errno in (errno.EPERM, errno.ENOTTY), hex(request)
        os.close(fd)
        assert get_flags(target) == FS_IMMUTABLE_FL
    finally:
        set_flags(target, 0)


def test_other_sizes_are_other_numbers(target):
    """A number of ours with another size or direction is not ours."""
    fd = os.open(target, os.O_RDWR)
    known = {request for request, _ in CALLS.values()}
    for index in range(32):
        for direction in range(4):
            for size in (0, 8, 16, 24, 40, 64, 128, 512, 4096):
                request = number(direction, index, size)
                if request not in known:
                    with pytest.raises(OSError) as caught:
                        fcntl.ioctl(fd, request, bytearray(4096))
                    assert caught.value.errno == errno.ENOTTY, hex(request)
    os.close(fd)
