# SPDX-License-Identifier: BSD-3-Clause
"""
Run in the guest (by test_nfs.py): /mnt is a pool that the kernel exports, and /run/nfs the same by
NFS. A client keeps nothing but a handle of each object: the server must find what it names when
the kernel has forgotten it, too. So no path is looked up between the forgetting and the use.
"""

import contextlib
import errno
import json
import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

SERVER, CLIENT = Path("/mnt"), Path("/run/nfs")
LIMIT = 60
CONTENT = b"content" * 1000
TARGET = "/to/some/where"
KINDS = {"file": stat.S_IFREG, "folder": stat.S_IFDIR, "symlink": stat.S_IFLNK,
         "fifo": stat.S_IFIFO}


def drop_caches(what):
    Path("/proc/sys/vm/drop_caches").write_text(f"{what}\n")


def daxfuse(*arguments):
    return subprocess.run(["daxfuse", *arguments], check=True, timeout=LIMIT, text=True,
                          stdout=subprocess.PIPE).stdout


def serving():
    return json.loads(daxfuse("status", SERVER))["mount"]["pid"]


def restart():
    before = serving()
    daxfuse("restart", SERVER)
    assert serving() != before
    drop_caches(2)


def kill():
    before = serving()
    os.kill(before, signal.SIGKILL)
    assert serving() != before
    drop_caches(2)


WAYS = {"at once": lambda: None, "dropped": lambda: drop_caches(2),
        "all dropped": lambda: drop_caches(3), "restarted": restart, "killed": kill}


@pytest.fixture
def folder(request):
    """A folder's name below both mounts; not the top one, which is never forgotten."""
    name = request.node.name.replace("[", "-").replace("]", "")
    (SERVER / name / "below").mkdir(parents=True)
    yield f"{name}/below"
    subprocess.run(["rm", "-r", SERVER / name], check=True, timeout=LIMIT)


def make(path, kind):
    if kind == "folder":
        path.mkdir()
        (path / "inside").touch()
    elif kind == "symlink":
        path.symlink_to(TARGET)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_bytes(CONTENT)


def remove(path, kind):
    if kind == "folder":
        (path / "inside").unlink()
        path.rmdir()
    else:
        path.unlink()


@contextlib.contextmanager
def held(path):
    """The client has the handle, and nothing is open at the server."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        yield fd
    finally:
        os.close(fd)


def facts(found):
    return (found.st_ino, found.st_mode, found.st_nlink, found.st_uid, found.st_size,
            found.st_mtime_ns)


def check_contents(fd, kind):
    """What can be read of it, from the server: the client has not read it before."""
    if kind == "folder":
        assert os.listdir(f"/proc/self/fd/{fd}") == ["inside"]
    elif kind == "symlink":
        assert os.readlink("", dir_fd=fd) == TARGET
    elif kind == "file":
        assert Path(f"/proc/self/fd/{fd}").read_bytes() == CONTENT


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_handle_outlives_the_caches(folder, kind, way):
    make(SERVER / folder / "it", kind)
    before = os.lstat(SERVER / folder / "it")
    assert stat.S_IFMT(before.st_mode) == KINDS[kind]
    with held(CLIENT / folder / "it") as fd:
        WAYS[way]()
        assert facts(os.fstat(fd)) == facts(before)
        check_contents(fd, kind)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_deleted_object_is_stale(folder, kind, way):
    """Also when a new one has its place."""
    make(SERVER / folder / "it", kind)
    with held(CLIENT / folder / "it") as fd:
        remove(SERVER / folder / "it", kind)
        make(SERVER / folder / "new", kind)
        WAYS[way]()
        with pytest.raises(OSError) as caught:
            os.fstat(fd)
        assert caught.value.errno == errno.ESTALE


@pytest.mark.parametrize("way", WAYS)
def test_a_renamed_file_is_the_same(folder, way):
    make(SERVER / folder / "it", "file")
    with held(CLIENT / folder / "it") as fd:
        os.rename(SERVER / folder / "it", SERVER / folder / ".." / "elsewhere")
        WAYS[way]()
        check_contents(fd, "file")


@pytest.mark.parametrize("way", WAYS)
def test_an_open_file_goes_on(folder, way):
    """The server has it open all the time, whatever serves it."""
    make(SERVER / folder / "it", "file")
    with open(CLIENT / folder / "it", "r+b", buffering=0) as file:
        assert file.read(7) == CONTENT[:7]
        WAYS[way]()
        assert os.pwrite(file.fileno(), b"written", len(CONTENT)) == 7
        os.fsync(file.fileno())
        drop_caches(3)
        assert os.pread(file.fileno(), 2 * len(CONTENT), 0) == CONTENT + b"written"
    assert (SERVER / folder / "it").read_bytes() == CONTENT + b"written"
