# SPDX-License-Identifier: BSD-3-Clause
"""File handles, as file servers and overlayfs use them: they name one object, also later."""

import ctypes
import os
import struct

import pytest

from support.process import fails
from support.syscalls import AT_FDCWD, libc

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def handle_of(path):
    buffer = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
    mount_id = ctypes.c_int()
    if libc.name_to_handle_at(AT_FDCWD, os.fsencode(path), buffer, ctypes.byref(mount_id), 0) < 0:
        raise OSError(ctypes.get_errno(), str(path))
    return buffer.raw


def open_handle(mount, handle, flags=os.O_RDONLY):
    top = os.open(mount, os.O_RDONLY)
    try:
        fd = libc.open_by_handle_at(top, ctypes.create_string_buffer(handle, 136), flags)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "open_by_handle_at")
        return fd
    finally:
        os.close(top)


def drop_caches():
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("2\n")


@pytest.mark.parametrize("how", ["at once", "dropped", "remounted"])
def test_handle_opens_the_same_object(mnt, pool, how):
    (mnt / "d/e").mkdir(parents=True)
    (mnt / "d/e/f").write_text("content")
    file, folder = handle_of(mnt / "d/e/f"), handle_of(mnt / "d/e")
    if how == "dropped":
        drop_caches()
    if how == "remounted":
        pool.remount()
    os.rename(mnt / "d/e/f", mnt / "moved")
    fd = open_handle(mnt, file)
    assert os.read(fd, 100) == b"content"
    os.close(fd)
    fd = open_handle(mnt, folder)
    assert os.readlink(f"/proc/self/fd/{fd}") == str(mnt / "d/e")
    os.close(fd)


def test_handle_of_a_removed_file_is_stale(mnt, pool):
    """Also when its inode number is used again."""
    (mnt / "f").write_text("old")
    handle, number = handle_of(mnt / "f"), (mnt / "f").stat().st_ino
    os.unlink(mnt / "f")
    drop_caches()
    with fails("ESTALE"):
        open_handle(mnt, handle)
    for i in range(5000):
        (mnt / str(i)).touch()
        if (mnt / str(i)).stat().st_ino == number:
            break
    with fails("ESTALE"):
        open_handle(mnt, handle)
    pool.remount()
    with fails("ESTALE"):
        open_handle(mnt, handle)
