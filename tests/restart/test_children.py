# SPDX-License-Identifier: BSD-3-Clause
"""What the serving process has its children for, and what happens without them."""

import os
import subprocess
import time
from pathlib import Path

from support.pool import name_of
from support.process import eventually
from restart.task import children, kill_quietly


def notifiers_of(pool):
    """One for answers of writes, one for all else."""
    pids = {pid for pid in children(pool.serving()) if name_of(pid) == "daxfuse-notify"}
    assert len(pids) == 2
    return pids


def wait_until(true, seconds=10):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_notifier_is_killed(make_pool):
    """Another one is there when it is needed: orphans are freed all the same."""
    pool = make_pool()
    point = pool.serve()
    before = os.statvfs(point).f_ffree
    for _ in range(3):
        old = notifiers_of(pool)
        for pid in old:
            kill_quietly(pid)
        fd = os.open(point / "file", os.O_RDWR | os.O_CREAT)
        os.write(fd, b"x" * 100000)
        os.unlink(point / "file")
        os.close(fd)
        wait_until(lambda: os.statvfs(point).f_ffree == before)
        path = point / "file"
        path.write_bytes(b"old")
        with open(path, "rb", buffering=0) as reader, open(path, "r+b", buffering=0) as writer:
            assert reader.read() == b"old"
            writer.write(b"new")
            assert os.pread(reader.fileno(), 3, 0) == b"new"
        path.unlink()
        assert not notifiers_of(pool) & old


def test_unmounted_at_once(make_pool):
    """The daemon looks at its own mount when it starts; nobody is told to wait for that."""
    pool = make_pool()
    for _ in range(20):
        subprocess.run([pool.bin_dir / "daxfuse", pool.image, pool.point], check=True)
        subprocess.run(["umount", pool.point], check=True)


def test_buffers_stay_where_they_are(make_pool):
    """
    SIGKILL while a page of a buffer is being moved would cost a client an EIO: all are pinned, where
    the system allows that to io_uring. A worker that begins has locked and not yet pinned its own.
    """
    pool = make_pool()
    pool.serve()
    pid = pool.serving()

    def are_pinned():
        sizes = {int(line.split()[1]) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                 if line.startswith(("VmPin:", "VmLck:"))}
        return len(sizes) == 1 and sizes.pop() >= 1 << 10

    assert eventually(are_pinned, True)
