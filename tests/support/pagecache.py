# SPDX-License-Identifier: BSD-3-Clause
"""What the kernel's page cache has of a file."""

import ctypes
import mmap
import os

PAGE = mmap.PAGESIZE

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                      ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def is_cached(fd):
    """Whether it holds all of this open file; looks without reading it."""
    length = os.fstat(fd).st_size
    at = libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_PRIVATE, fd, 0)
    vector = (ctypes.c_ubyte * -(-length // PAGE))()
    assert libc.mincore(ctypes.c_void_p(at), ctypes.c_size_t(length), vector) == 0
    libc.munmap(at, length)
    return all(page & 1 for page in vector)
