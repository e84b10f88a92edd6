# SPDX-License-Identifier: BSD-3-Clause
"""The supervisor when the next process can't be had, or not of the installed program."""

import os
import resource
import shutil
import signal
import time

import pytest

from restart.task import children

OTHERS = {
    "broken": "#!/bin/sh\nexit 1\n",
    "not a program": "nothing\n",
    "removed": None,
}


@pytest.fixture
def installed(make_pool, bin_dir, tmp_path):
    """A served pool whose programs are copies of ours in a folder of their own."""
    for program in ("daxfuse", "mkfs.daxfuse", "fsck.daxfuse"):
        shutil.copy2(bin_dir / program, tmp_path / program)
    pool = make_pool()
    pool.bin_dir = tmp_path
    pool.serve()
    return pool


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_unusable_program_installed(installed, bin_dir, text):
    """Nobody asked for a restart: what serves now is no reason to lose the mount."""
    pool = installed
    program = pool.bin_dir / "daxfuse"
    program.unlink()
    if text:
        program.write_text(text)
        program.chmod(0o755)
    with pool.limit(60):
        fd = os.open(pool.point / "file", os.O_RDWR | os.O_CREAT)
        for i in range(3):
            old = pool.wait_for_serving()
            os.kill(old, signal.SIGKILL)
            pool.wait_for_serving(dead=[old])
            assert os.pwrite(fd, b"written", 100 * i) == 7
        os.close(fd)
    pool.bin_dir = bin_dir
    pool.check_log = lambda: None  # the failures are in it


def test_no_process_for_a_while(make_pool):
    """The system may be out of what a new process needs."""
    pool = make_pool()
    pool.serve()
    fd = os.open(pool.point / "file", os.O_RDWR | os.O_CREAT)
    with pool.limit(60):
        limit = resource.prlimit(pool.supervisor, resource.RLIMIT_NOFILE)
        resource.prlimit(pool.supervisor, resource.RLIMIT_NOFILE, (3, limit[1]))
        os.kill(pool.wait_for_serving(), signal.SIGKILL)
        time.sleep(1)
        assert children(pool.supervisor) == []
        resource.prlimit(pool.supervisor, resource.RLIMIT_NOFILE, limit)
        assert os.pwrite(fd, b"written", 0) == 7
    os.close(fd)


def kill_and_write(pool, path, image):
    with pool.limit(60):
        fd = os.open(path / "file", os.O_RDWR | os.O_CREAT)
        old = pool.wait_for_serving()
        os.kill(old, signal.SIGKILL)
        pool.wait_for_serving(dead=[old])
        assert os.pwrite(fd, b"written", 0) == 7
        assert pool.status()["device"] == str(image)
        os.close(fd)


def test_image_renamed_meanwhile(make_pool):
    """What was mounted counts, not what has its name now."""
    pool = make_pool()
    pool.serve()
    new = pool.image.rename(pool.folder / "elsewhere")
    pool.image.write_bytes(b"something else")
    kill_and_write(pool, pool.point, pool.image)
    new.rename(pool.image)


def test_image_below_its_own_mount(make_pool):
    """Its path leads through the mount: only the daemon itself could answer there."""
    pool = make_pool()
    below = pool.point / "image"
    image = pool.image
    image.rename(below)
    pool.image = below
    pool.serve()
    kill_and_write(pool, pool.point, below)
    pool.umount()
    pool.image = below.rename(image)


def test_program_below_the_mount(make_pool, bin_dir):
    """It was started before something was mounted over it."""
    pool = make_pool()
    shutil.copy2(bin_dir / "daxfuse", pool.point / "daxfuse")
    pool.bin_dir = pool.point
    pool.mount()
    pool.bin_dir = bin_dir
    pool.supervisor = pool.daemon.pid
    kill_and_write(pool, pool.point, pool.image)
    pool.umount()
    (pool.point / "daxfuse").unlink()
