# SPDX-License-Identifier: BSD-3-Clause
"""
File handles, as file servers, overlayfs and contrib/replicate use them: they name one object,
also when the kernel has forgotten it and nobody has looked its path up again. So these tests
touch no path between the moment that makes the kernel forget and the opening.
"""

import contextlib
import ctypes
import os
import signal
import stat
import struct

import pytest

from support.process import Child, fails
from support.syscalls import AT_FDCWD, libc

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

KINDS = {"file": stat.S_IFREG, "folder": stat.S_IFDIR, "symlink": stat.S_IFLNK,
         "fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "character device": stat.S_IFCHR,
         "block device": stat.S_IFBLK}
WAYS = ["at once", "dropped", "restarted", "killed", "remounted"]


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


def make(path, kind):
    if kind == "folder":
        path.mkdir()
        (path / "inside").touch()
    elif kind == "symlink":
        os.symlink("/to/some/where", path)
    elif kind == "file":
        path.write_text("content")
    else:
        os.mknod(path, KINDS[kind] | 0o640, os.makedev(1, 3))


def describe(fd, kind):
    """What an object is and holds, from a descriptor of it that may be O_PATH."""
    status = os.fstat(fd)
    content = None
    if kind == "symlink":
        content = os.readlink("", dir_fd=fd)
    elif kind == "folder":
        content = os.listdir(f"/proc/self/fd/{fd}")
    elif kind == "file":
        with open(f"/proc/self/fd/{fd}") as file:
            content = file.read()
    return (status.st_ino, status.st_mode, status.st_rdev, status.st_size, status.st_mtime_ns,
            content)


def describe_path(path, kind):
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        return describe(fd, kind)
    finally:
        os.close(fd)


def describe_handle(mount, handle, kind):
    fd = open_handle(mount, handle, os.O_PATH | os.O_NOFOLLOW)
    try:
        return describe(fd, kind)
    finally:
        os.close(fd)


def forget(pool, how):
    """Let the kernel forget what it knows of the mount; or the daemon, or both."""
    if how == "restarted":
        pool.run("daxfuse", "restart", pool.point)
    elif how == "killed":
        os.kill(pool.serving(), signal.SIGKILL)
        os.statvfs(pool.point)
        # that it was killed is in the log, as it should be
        pool.log.write_text("")
    elif how == "remounted":
        pool.remount()
    if how != "at once":
        drop_caches()


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_handle_opens_the_same_object(mnt, pool, kind, how):
    (mnt / "d").mkdir()
    make(mnt / "d/x", kind)
    handle, before = handle_of(mnt / "d/x"), describe_path(mnt / "d/x", kind)
    assert stat.S_IFMT(before[1]) == KINDS[kind]
    forget(pool, how)
    # in a process that has never seen the path
    assert Child(describe_handle, pool.point, handle, kind).result() == before
    os.rename(mnt / "d/x", mnt / "moved")
    forget(pool, how)
    assert Child(describe_handle, pool.point, handle, kind).result() == before


@pytest.mark.parametrize("how", WAYS)
def test_folder_is_found_with_its_path(mnt, pool, how):
    """The kernel asks for its parents, up to the root."""
    (mnt / "d/e/f").mkdir(parents=True)
    handle = handle_of(mnt / "d/e/f")
    forget(pool, how)
    fd = open_handle(pool.point, handle)
    assert os.readlink(f"/proc/self/fd/{fd}") == str(mnt / "d/e/f")
    os.close(fd)


def test_file_is_read_and_written(mnt, pool):
    (mnt / "f").write_text("content")
    handle = handle_of(mnt / "f")
    forget(pool, "remounted")
    fd = open_handle(pool.point, handle, os.O_RDWR)
    assert os.read(fd, 100) == b"content"
    os.pwrite(fd, b"C", 0)
    os.close(fd)
    assert (mnt / "f").read_text() == "Content"


def remove(path, kind):
    if kind == "folder":
        (path / "inside").unlink()
        path.rmdir()
    else:
        path.unlink()


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_handle_of_what_was_removed_is_stale(mnt, pool, kind, how):
    make(mnt / "x", kind)
    handle = handle_of(mnt / "x")
    remove(mnt / "x", kind)
    forget(pool, how)
    with fails("ESTALE"):
        open_handle(pool.point, handle, os.O_PATH)


@pytest.mark.parametrize("how", ["dropped", "remounted"])
@pytest.mark.parametrize("other", ["the same kind", "another kind"])
@pytest.mark.parametrize("kind", KINDS)
def test_handle_is_stale_when_the_number_is_used_again(mnt, pool, kind, other, how):
    make(mnt / "x", kind)
    handle, number = handle_of(mnt / "x"), os.lstat(mnt / "x").st_ino
    remove(mnt / "x", kind)
    if other == "another kind":
        kind = "folder" if kind == "file" else "file"
    with reused(mnt, number, kind):
        with fails("ESTALE"):
            open_handle(pool.point, handle, os.O_PATH)
        forget(pool, how)
        with fails("ESTALE"):
            open_handle(pool.point, handle, os.O_PATH)


@contextlib.contextmanager
def reused(mnt, number, kind):
    """Something of that kind which has the inode number, while it lasts. Numbers are given out in turn, by
    each CPU from a chunk of its own."""
    made = []
    try:
        for i in range(4096 * (1 + min(os.cpu_count(), 16))):
            made.append(mnt / f"{kind} {i}")
            if kind == "folder":
                made[-1].mkdir()
            else:
                make(made[-1], kind)
            if os.lstat(made[-1]).st_ino == number:
                break
        assert os.lstat(made[-1]).st_ino == number, "the number was not used again"
        yield
    finally:
        for path in made:
            path.rmdir() if kind == "folder" else path.unlink()


def test_unlinked_but_open(mnt, pool):
    """It has no name any more, so it can't be found; a program that has it open goes on."""
    fd = os.open(mnt / "f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"still there")
    handle = handle_of(mnt / "f")
    os.unlink(mnt / "f")
    drop_caches()
    with contextlib.suppress(OSError):  # as long as the kernel has it itself, it may be found
        os.close(open_handle(pool.point, handle))
    assert os.pread(fd, 100, 0) == b"still there"
    os.close(fd)
