# SPDX-License-Identifier: BSD-3-Clause
"""Files without a name: unlinked but open, O_TMPFILE."""

import os
import random
import stat

from support.pool import MIB
from support.process import eventually, fails
from support.syscalls import link_fd


def test_unlinked_but_open(mnt):
    content = random.Random(1).randbytes(3 * MIB)
    fd = os.open(mnt / "f", os.O_RDWR | os.O_CREAT)
    os.write(fd, content)
    os.unlink(mnt / "f")
    assert os.fstat(fd).st_nlink == 0
    assert os.pread(fd, len(content), 0) == content
    os.pwrite(fd, b"more", len(content))
    os.ftruncate(fd, len(content) + 2)
    os.fchmod(fd, 0o600)
    os.setxattr(fd, "user.a", b"1")
    assert os.pread(fd, 100, len(content)) == b"mo"
    assert os.getxattr(fd, "user.a") == b"1"
    assert os.listdir(mnt) == []
    (mnt / "f").write_text("another")
    assert os.pread(fd, 10, 0) == content[:10]
    os.close(fd)


def test_space_comes_back_at_the_last_close(make_pool):
    """In a pool of its own: what an earlier test has removed may come back a little later."""
    pool = make_pool()
    mnt = pool.mount()
    (mnt / "warm").touch()
    before = pool.free()
    fd = os.open(mnt / "f", os.O_RDWR | os.O_CREAT)
    os.write(fd, bytes(range(256)) * (16 * MIB // 256))
    second = os.open(mnt / "f", os.O_RDONLY)
    os.unlink(mnt / "f")
    os.close(fd)
    assert pool.free()[0] <= before[0] - 16 * MIB // 4096
    assert len(os.pread(second, 4096, MIB)) == 4096
    os.close(second)
    assert eventually(pool.free, before) == before


def test_unlinked_directory_stays_usable_as_cwd(mnt):
    (mnt / "d").mkdir()
    fd = os.open(mnt / "d", os.O_RDONLY)
    os.rmdir(mnt / "d")
    assert os.fstat(fd).st_nlink == 0
    assert os.listdir(fd) == []
    os.close(fd)


def test_tmpfile(mnt):
    fd = os.open(mnt, os.O_TMPFILE | os.O_RDWR, 0o640)
    info = os.fstat(fd)
    assert info.st_nlink == 0 and stat.S_IMODE(info.st_mode) == 0o640 and os.listdir(mnt) == []
    os.write(fd, b"content")
    link_fd(fd, mnt / "named")
    assert os.fstat(fd).st_nlink == 1
    os.close(fd)
    assert (mnt / "named").read_text() == "content"


def test_tmpfile_link_does_not_replace(mnt):
    (mnt / "there").touch()
    fd = os.open(mnt, os.O_TMPFILE | os.O_RDWR)
    with fails("EEXIST"):
        link_fd(fd, mnt / "there")
    os.close(fd)


def test_tmpfile_excl_gets_no_name(mnt):
    fd = os.open(mnt, os.O_TMPFILE | os.O_RDWR | os.O_EXCL)
    with fails("ENOENT"):
        link_fd(fd, mnt / "named")
    os.close(fd)


def test_tmpfile_needs_writing(mnt):
    with fails("EINVAL"):
        os.open(mnt, os.O_TMPFILE | os.O_RDONLY)


def test_tmpfile_space_comes_back(make_pool):
    """In a pool of its own: what an earlier test has removed may come back a little later."""
    pool = make_pool()
    mnt = pool.mount()
    (mnt / "warm").touch()
    before = pool.free()
    fds = [os.open(mnt, os.O_TMPFILE | os.O_RDWR) for _ in range(20)]
    for fd in fds:
        os.write(fd, b"x" * 100_000)
    for fd in fds:
        os.close(fd)
    assert eventually(pool.free, before) == before


def test_orphans_of_a_killed_daemon(make_pool):
    """What had no name is gone after the next mount, and its space is free."""
    pool = make_pool()
    mnt = pool.mount()
    (mnt / "kept").touch()
    before = pool.free()
    fds = [os.open(mnt, os.O_TMPFILE | os.O_RDWR) for _ in range(10)]
    fds += [os.open(mnt / str(i), os.O_RDWR | os.O_CREAT) for i in range(10)]
    for fd in fds:
        os.write(fd, b"x" * MIB)
    for i in range(10):
        os.unlink(mnt / str(i))
    pool.kill()
    for fd in fds:
        os.close(fd)
    pool.mount()
    assert os.listdir(mnt) == ["kept"]
    assert pool.free() == before
