# SPDX-License-Identifier: BSD-3-Clause
"""
`daxfuse restart`: the serving process is replaced by what is installed, if that can
take over; the one that runs goes on if not.
"""

import json
import os
import re
import shutil
import struct
import subprocess

import pytest

from restart.mount import RestartPool

# struct kept, daxfuse/keeper/kept.h
VERSION_AT = 4


@pytest.fixture
def installed(make_pool, bin_dir, tmp_path):
    """A served pool whose programs are copies of ours in a folder of their own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("daxfuse", "mkfs.daxfuse", "fsck.daxfuse"):
        shutil.copy2(bin_dir / program, folder / program)
    pool = make_pool()
    pool.bin_dir = folder
    pool.serve()
    return pool


def install(pool, text=None, source=None):
    """Put another program where the running one lies, as package managers do."""
    new = pool.bin_dir / "new"
    if source:
        shutil.copy2(source, new)
    else:
        new.write_text(text)
        new.chmod(0o755)
    new.rename(pool.bin_dir / "daxfuse")


def restart(pool, bin_dir):
    return subprocess.run([bin_dir / "daxfuse", "restart", pool.point], capture_output=True,
                          text=True, timeout=60)


def test_upgrade(installed, bin_dir):
    pool = installed
    old = pool.serving()
    fd = os.open(pool.point / "file", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"before")
    os.unlink(pool.point / "file")
    install(pool, source=bin_dir / "daxfuse")
    assert "(deleted)" in os.readlink(f"/proc/{old}/exe")
    done = restart(pool, bin_dir)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["pid"] == pool.serving() != old and answer["starts"] == 2
    assert os.readlink(f"/proc/{answer['pid']}/exe") == str(pool.bin_dir / "daxfuse")
    assert not RestartPool.is_ours(pool, old)
    mount = pool.status()["mount"]
    assert "deaths" not in mount
    os.write(fd, b" and after")
    assert os.pread(fd, 100, 0) == b"before and after"
    os.close(fd)


@pytest.mark.parametrize("text, reason", [
    ("#!/bin/sh\nexit 0\n", "does not answer as a daxfuse should"),
    ("#!/bin/sh\necho has other plans; exit 1\n", "has other plans"),
    ("#!/bin/sh\necho 'daxfuse: can take over'; exit 3\n", "can take over"),
    ("#!/no/such/interpreter\n", "cannot be executed"),
    ("#!/bin/sh\necho 'daxfuse: can take over'; sleep 1000\n", "says nothing for 5 seconds"),
    ("#!/bin/sh\nexec >/dev/null 2>&1; exec sleep 1000\n", "says nothing for 5 seconds"),
    ("#!/bin/sh\ntrap '' TERM; exec yes no\n", " no\n"),
])
def test_refused(installed, bin_dir, text, reason):
    """Nothing is changed: the same process serves."""
    pool = installed
    before = pool.serving()
    install(pool, text)
    done = restart(pool, bin_dir)
    assert done.returncode == 1 and reason in done.stderr, done.stderr
    assert "the running daemon goes on" in done.stderr
    assert pool.serving() == before
    (pool.point / "file").write_bytes(b"x")
    install(pool, source=bin_dir / "daxfuse")


def kept_memory(pid):
    """The contents of the memfd that a serving process shares with its keeper."""
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        if "memfd:daxfuse" in os.readlink(path):
            with open(path, "rb") as file:
                return bytearray(file.read())
    raise AssertionError("no memfd")


def ask(pool, memory, *options):
    """What our binary says to being the next one of this mount."""
    fd = os.memfd_create("kept")
    os.write(fd, memory)
    done = subprocess.run([pool.bin_dir / "daxfuse", pool.image, pool.point, *options],
                          env={**os.environ, "DAXFUSE_RESTART_CHECK": str(fd)}, pass_fds=[fd],
                          capture_output=True, text=True, timeout=60)
    os.close(fd)
    return done.returncode, done.stdout.strip() + done.stderr.strip()


def test_what_the_next_binary_says(installed):
    pool = installed
    memory = kept_memory(pool.serving())
    assert ask(pool, memory) == (0, "daxfuse: can take over")
    assert ask(pool, memory, "-o", "keeper=none")[0] == 1
    assert ask(pool, memory, "-o", "no_such_option")[0] == 1
    newer = bytearray(memory)
    struct.pack_into("<I", newer, VERSION_AT, 99)
    assert ask(pool, newer) == (1, "does not understand what the running one has kept")
    assert ask(pool, memory[:4096])[0] == 1
    assert ask(pool, bytes(len(memory)))[0] == 1
    # Feature words of a pool that a newer binary has made, found by their neighbour.
    at = feature_words(memory)
    for offset, value in ((0, 2), (8, 128), (16, 1)):
        newer = bytearray(memory)
        newer[at + offset] = value
        assert ask(pool, newer) == (1, "does not know the format of this pool")
    assert ask(pool, newer, "-o", "ro")[0] == 0  # an unknown ro_compat bit


def feature_words(memory):
    """Where {version 1, supervisor, incompat 0, ro_compat 0} lies."""
    found = [match.start() for match in
             re.finditer(rb"\x01\0\0\0.{4}\0{16}", bytes(memory[12000:14000]), re.S)]
    at = [12000 + start for start in found if (12000 + start) % 8 == 0]
    assert at, "struct kept has changed"
    return at[0]


def test_not_restartable(make_pool, bin_dir):
    pool = make_pool()
    pool.mount("keeper=none")
    done = restart(pool, bin_dir)
    assert done.returncode == 1 and "no keeper" in done.stderr, done.stderr
    pool.umount()


@pytest.mark.parametrize("option", ["io_uring", "clone_fd"])
def test_excluded(make_pool, option):
    pool = make_pool()
    done = subprocess.run([pool.bin_dir / "daxfuse", pool.image, pool.point, "-o",
                           f"{option},keeper=supervisor"], capture_output=True, text=True)
    assert done.returncode == 1 and "does not survive" in done.stderr
    if option == "clone_fd":
        pool.mount(option)
        mount = pool.status()["mount"]
        assert mount["restartable"] is False and mount["keeper"] == "none"
        pool.umount()


def test_only_root_may(installed, bin_dir):
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                           bin_dir / "daxfuse", "restart", installed.point], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 1 and "run as root" in done.stderr, done.stderr
