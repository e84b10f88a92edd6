# SPDX-License-Identifier: BSD-3-Clause
"""Hard links, symlinks, special nodes."""

import os
import socket
import stat

import pytest

from support.process import Child, fails


def test_hard_link(mnt):
    (mnt / "a").write_text("one")
    os.link(mnt / "a", mnt / "b")
    (mnt / "d").mkdir()
    os.link(mnt / "b", mnt / "d/c")
    assert (mnt / "a").stat().st_nlink == 3
    assert len({(mnt / name).stat().st_ino for name in ("a", "b", "d/c")}) == 1
    (mnt / "d/c").write_text("two")
    assert (mnt / "a").read_text() == "two"
    os.unlink(mnt / "a")
    assert (mnt / "b").stat().st_nlink == 2
    with fails("EEXIST"):
        os.link(mnt / "b", mnt / "d/c")
    with fails("ENOENT"):
        os.link(mnt / "missing", mnt / "x")


def test_no_hard_link_to_a_directory(mnt):
    (mnt / "d").mkdir()
    with fails("EPERM"):
        os.link(mnt / "d", mnt / "e")


def test_link_changes_ctime(mnt):
    (mnt / "a").touch()
    before = (mnt / "a").stat()
    os.link(mnt / "a", mnt / "b")
    after = (mnt / "a").stat()
    assert after.st_ctime_ns > before.st_ctime_ns and after.st_mtime_ns == before.st_mtime_ns


def test_many_links(mnt, pool):
    (mnt / "f").write_text("many")
    for i in range(2000):
        os.link(mnt / "f", mnt / str(i))
    assert (mnt / "f").stat().st_nlink == 2001
    pool.remount()
    assert (mnt / "1999").read_text() == "many"
    for i in range(2000):
        os.unlink(mnt / str(i))
    assert (mnt / "f").stat().st_nlink == 1


def test_link_to_a_symlink_itself(mnt):
    os.symlink("nowhere", mnt / "s")
    os.link(mnt / "s", mnt / "t", follow_symlinks=False)
    assert os.readlink(mnt / "t") == "nowhere"
    assert (mnt / "s").lstat().st_nlink == 2


@pytest.mark.parametrize("length", [1, 2, 59, 127, 128, 129, 255, 256, 1000, 4094, 4095])
def test_symlink_lengths(mnt, pool, length):
    target = "x" * length
    os.symlink(target, mnt / "s")
    assert os.readlink(mnt / "s") == target
    info = (mnt / "s").lstat()
    assert info.st_size == length and stat.S_ISLNK(info.st_mode)
    pool.remount()
    assert os.readlink(mnt / "s") == target


def test_symlinks_are_followed(mnt):
    (mnt / "d").mkdir()
    (mnt / "d/f").write_text("through")
    os.symlink("d", mnt / "to-d")
    os.symlink(mnt / "to-d/f", mnt / "absolute")
    os.symlink("../d/f", mnt / "d/up")
    for name in ("to-d/f", "absolute", "d/up"):
        assert (mnt / name).read_text() == "through"
    os.symlink("loop", mnt / "loop")
    with fails("ELOOP"):
        (mnt / "loop").read_text()
    os.symlink("missing", mnt / "dangling")
    with fails("ENOENT"):
        (mnt / "dangling").stat()
    with fails("EEXIST"):
        os.mkdir(mnt / "dangling")
    (mnt / "dangling").write_text("made")
    assert (mnt / "missing").read_text() == "made"


def test_symlink_needs_a_target(mnt):
    with fails("ENOENT"):
        os.symlink("", mnt / "s")
    with fails("ENAMETOOLONG"):
        os.symlink("x" * 4096, mnt / "s")
    (mnt / "f").touch()
    with fails("EINVAL"):
        os.readlink(mnt / "f")


def test_symlink_owner_and_times(mnt):
    os.symlink("x", mnt / "s")
    os.chown(mnt / "s", 12, 34, follow_symlinks=False)
    os.utime(mnt / "s", ns=(5, 7), follow_symlinks=False)
    info = (mnt / "s").lstat()
    assert (info.st_uid, info.st_gid, info.st_mtime_ns) == (12, 34, 7)


def test_fifo(mnt):
    os.mkfifo(mnt / "fifo", 0o600)
    assert stat.S_ISFIFO((mnt / "fifo").stat().st_mode)

    def writer():
        with open(mnt / "fifo", "w") as out:
            out.write("through the fifo")

    child = Child(writer)
    assert (mnt / "fifo").read_text() == "through the fifo"
    child.result()


def test_socket(mnt):
    path = str(mnt / "socket")
    os.chdir(mnt)
    try:
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind("socket")
            assert stat.S_ISSOCK(os.stat(path).st_mode)
            server.listen()
            client.connect("socket")
            connection = server.accept()[0]
            client.send(b"hello")
            assert connection.recv(10) == b"hello"
            connection.close()
    finally:
        os.chdir("/")


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK])
@pytest.mark.parametrize("device", [(0, 0), (1, 3), (255, 255), (4095, 1048575)])
def test_device_nodes(mnt, pool, kind, device):
    os.mknod(mnt / "node", kind | 0o600, os.makedev(*device))
    pool.remount()
    info = (mnt / "node").stat()
    assert stat.S_IFMT(info.st_mode) == kind
    assert (os.major(info.st_rdev), os.minor(info.st_rdev)) == device


def test_device_node_works(mnt):
    os.mknod(mnt / "zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    with open(mnt / "zero", "rb") as zero:
        assert zero.read(10) == bytes(10)
