# SPDX-License-Identifier: BSD-3-Clause
"""A daemon that is remounted is replaced for it, and may be killed in the middle."""

import contextlib
import fcntl
import os
import random
import signal
import struct
import time

import pytest

from check.pool import INODE_SIZE, Pool
from restart.task import Flag, Task, kill_quietly
from support.process import eventually
from support.syscalls import RENAME_EXCHANGE, renameat2

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="aborts FUSE connections")

REMOUNT = 3 << 30 | 512 << 16 | 0xdf << 8 | 19


def remount(point, read_only):
    """The daemon's part alone: the kernel goes on sending what is written. Its error, and why."""
    fd = os.open(point, os.O_RDONLY)
    try:
        answer = bytearray(struct.pack("IIII", 1, read_only, 0, 0).ljust(512, b"\0"))
        fcntl.ioctl(fd, REMOUNT, answer)
        return struct.unpack_from("i", answer, 12)[0], answer[16:].split(b"\0")[0].decode()
    finally:
        os.close(fd)


def change_names(folder, stop):
    """Transactions without an end; each may find the mount read-only."""
    while not stop:
        with contextlib.suppress(OSError):
            renameat2(folder / "a", folder / "b", RENAME_EXCHANGE)
            os.setxattr(folder / "a", "user.a", os.urandom(500))


def test_killed_while_it_becomes_read_only(make_pool):
    """What was under way is completed, though nobody may write any more."""
    pool = make_pool()
    folder = pool.serve()
    for name in ("a", "b"):
        (folder / name).mkdir()
    stop, rng = Flag(), random.Random(1)
    with pool.limit(120):
        tasks = [Task(f"names {i}", change_names, folder, stop) for i in range(3)]
        pool.tasks += tasks
        for _ in range(25):
            pid = pool.wait_for_serving()
            assert remount(folder, True)[0] == 0
            time.sleep(rng.uniform(0, 0.006))
            kill_quietly(pid)
            assert eventually(lambda: pool.status()["mount"]["read_only"], True) is True
            with pytest.raises(OSError):
                os.mkdir(folder / "c")
            assert remount(folder, False) == (0, "")
            assert eventually(lambda: pool.status()["mount"]["read_only"], False) is False
            assert sorted(os.listdir(folder)) == ["a", "b"]
        stop.set()
        for task in tasks:
            task.result(30)


def leave_a_live_record(image, name):
    """As a process does that is killed while it carries out a change: it says that the file has one
    link, of which it has two now."""
    pool = Pool(image)
    ino = pool.lookup(name)
    raw = bytes(pool.map[pool.inode_at(ino):pool.inode_at(ino) + INODE_SIZE])
    pool.set_inode(ino, nlink=2)
    pool.journal(1, (1, pool.inode_at(ino), raw))
    pool.close()


def test_last_change_is_completed(make_pool):
    """A process that was killed when the mount was to become read-only has left half a change; the
    next one must not write, and may not show it either."""
    pool = make_pool()
    path = pool.serve() / "file"
    path.touch()
    with pool.limit(60):
        assert remount(pool.point, True)[0] == 0
        assert eventually(lambda: pool.status()["mount"]["read_only"], True) is True
        pid = pool.wait_for_serving()
        os.kill(pool.supervisor, signal.SIGSTOP)
        kill_quietly(pid)
        leave_a_live_record(pool.image, "file")
        os.kill(pool.supervisor, signal.SIGCONT)
        status = pool.status()
        assert status["mount"]["read_only"] is True and status["mount"]["starts"] == 3
        assert path.stat(follow_symlinks=False).st_nlink == 1
        assert remount(pool.point, False) == (0, "")
