# SPDX-License-Identifier: BSD-3-Clause
"""Every ioctl of a mount, with an argument that is right, and what a call of it ends with."""

import errno
import fcntl
import os
import struct

from support.syscalls import (FALLOC_COLLAPSE_RANGE, FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR,
                              FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, XFLAG_DAX)

OK = "-"


def number(direction, index, size):
    return direction << 30 | size << 16 | 0xdf << 8 | index


SETXATTR = struct.pack("IIIII8x", XFLAG_DAX, 0, 0, 0, 0)
COLLAPSE_ALL = struct.pack("IIQQ", FALLOC_COLLAPSE_RANGE, 0, 0, 1 << 20)

# name -> (number, argument)
CALLS = {
    "GETFLAGS": (FS_IOC_GETFLAGS, bytes(8)),
    "SETFLAGS": (FS_IOC_SETFLAGS, bytes(8)),
    "FSGETXATTR": (FS_IOC_FSGETXATTR, bytes(28)),
    "FSSETXATTR": (FS_IOC_FSSETXATTR, SETXATTR),
    "DXF_IOC_EXTENTS": (number(3, 1, 4112), bytes(4112)),
    "DXF_IOC_STATUS": (number(2, 2, 8192), bytes(8192)),
    "DXF_IOC_REQUESTS": (number(2, 20, 64 * 104), bytes(64 * 104)),
    "DXF_IOC_QUOTA_GET": (number(3, 3, 40), struct.pack("Q32x", 7)),
    "DXF_IOC_QUOTA_SET": (number(1, 4, 40), struct.pack("Q32x", 7)),
    "DXF_IOC_QUOTA_NEXT": (number(3, 5, 40), struct.pack("Q32x", 9)),
    "DXF_IOC_RANGE": (number(1, 6, 24), COLLAPSE_ALL),
    "DXF_IOC_SET_LABEL": (number(1, 7, 64), bytes(64)),
    "DXF_IOC_RESTART": (number(2, 8, 512), bytes(512)),
    "DXF_IOC_REALIGN": (number(3, 9, 16), bytes(16)),
    "DXF_IOC_DIRECT": (number(2, 10, 128), bytes(128)),
    "DXF_IOC_MAP": (number(3, 11, 72 + 128 * 56), struct.pack("6Q", 0, 0, 0, 4096, 0, 4096) + bytes(24 + 128 * 56)),
    "DXF_IOC_UNMAP": (number(1, 12, 24), struct.pack("3Q", 0, 4096, 0)),
    "DXF_IOC_PIN": (number(1, 13, 16), struct.pack("2Q", 0, 4096)),
    "DXF_IOC_UNPIN": (number(1, 14, 16), struct.pack("2Q", 0, 4096)),
    "DXF_IOC_PROMOTE": (number(1, 15, 16), struct.pack("2Q", 0, 4096)),
    "DXF_IOC_MAPPED": (number(2, 16, 4096), bytes(4096)),
    "DXF_IOC_WATCH": (number(0, 17, 0), b""),
    "DXF_IOC_WATCH_READ": (number(2, 18, 16 + 256 * 32), bytes(16 + 256 * 32)),
    "DXF_IOC_EXPORT": (number(1, 21, 200), struct.pack("I196x", 1)),  # remove one that is not there
    "DXF_IOC_REMOUNT": (number(3, 19, 512), bytes(512)),  # of nothing
}


def answer(path, mode, name):
    """What one call on a new descriptor ends with."""
    request, argument = CALLS[name]
    fd = os.open(path, mode)
    try:
        fcntl.ioctl(fd, request, bytearray(argument))
    except OSError as error:
        return errno.errorcode[error.errno]
    finally:
        os.close(fd)
    return OK
