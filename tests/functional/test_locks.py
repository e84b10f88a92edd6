# SPDX-License-Identifier: BSD-3-Clause
"""flock() and POSIX record locks, between processes."""

import fcntl
import os
import struct

import pytest

from support.process import Child, concurrently, fails


@pytest.fixture
def locked_file(mnt):
    path = mnt / "f"
    path.write_bytes(bytes(100))
    return path


def try_lock(path, function, *args):
    """Whether another process gets the lock now."""
    def attempt():
        with open(path, "r+b") as file:
            try:
                function(file, *args)
                return True
            except BlockingIOError:
                return False
    return Child(attempt).result()


def test_flock(locked_file):
    with open(locked_file, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not try_lock(locked_file, fcntl.flock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(file, fcntl.LOCK_SH)
        assert try_lock(locked_file, fcntl.flock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert not try_lock(locked_file, fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(file, fcntl.LOCK_UN)
        assert try_lock(locked_file, fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_flock_belongs_to_the_open_file(locked_file):
    one = open(locked_file, "rb")
    two = open(locked_file, "rb")
    fcntl.flock(one, fcntl.LOCK_EX)
    with fails("EAGAIN"):
        fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    copy = os.dup(one.fileno())
    one.close()
    with fails("EAGAIN"):
        fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(copy)
    fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    two.close()


def test_record_locks(locked_file):
    with open(locked_file, "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 10, 20)
        exclusive = fcntl.LOCK_EX | fcntl.LOCK_NB
        assert not try_lock(locked_file, fcntl.lockf, exclusive, 1, 20)
        assert not try_lock(locked_file, fcntl.lockf, exclusive, 1, 29)
        assert try_lock(locked_file, fcntl.lockf, exclusive, 1, 30)
        assert try_lock(locked_file, fcntl.lockf, exclusive, 20, 0)
        fcntl.lockf(file, fcntl.LOCK_UN, 5, 22)
        assert try_lock(locked_file, fcntl.lockf, exclusive, 5, 22)
        assert not try_lock(locked_file, fcntl.lockf, exclusive, 1, 27)


def test_who_holds_a_record_lock(locked_file):
    with open(locked_file, "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 10, 20)
        owner = os.getpid()

        def ask():
            with open(locked_file, "r+b") as other:
                question = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                kind, _, start, length, pid = struct.unpack(
                    "hhqqi4x", fcntl.fcntl(other, fcntl.F_GETLK, question))
                return kind, start, length, pid

        assert Child(ask).result() == (fcntl.F_WRLCK, 20, 10, owner)


def test_record_locks_end_with_any_close(locked_file):
    with open(locked_file, "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        open(locked_file, "rb").close()
        assert try_lock(locked_file, fcntl.lockf, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_locks_end_with_the_process(locked_file):
    def hold():
        file = open(locked_file, "r+b")
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.lockf(file, fcntl.LOCK_EX)
        os._exit(0)

    pid = os.fork()
    if pid == 0:
        hold()
    os.waitpid(pid, 0)
    with open(locked_file, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.lockf(file, fcntl.LOCK_EX)


@pytest.mark.parametrize("lock", [fcntl.flock, fcntl.lockf])
def test_waiting_for_a_lock_serialises(locked_file, lock):
    """A counter that is read and written under a blocking lock loses nothing."""
    locked_file.write_text("0")

    def add(_):
        for _ in range(100):
            with open(locked_file, "r+") as file:
                lock(file, fcntl.LOCK_EX)
                count = int(file.read())
                file.seek(0)
                file.write(str(count + 1))
                file.flush()

    concurrently(add, range(4))
    assert locked_file.read_text() == "400"


def test_deadlock_is_noticed(locked_file):
    ready, go = os.pipe(), os.pipe()

    def other():
        file = open(locked_file, "r+b")
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 1)
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX, 1, 0)
        except OSError as error:
            return error.errno
        return 0

    with open(locked_file, "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 0)
        child = Child(other)
        os.read(ready[0], 1)
        os.write(go[1], b"x")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX, 1, 1)
            mine = 0
        except OSError as error:
            mine = error.errno
    assert sorted([mine, child.result()]) == [0, 35]
    for fd in ready + go:
        os.close(fd)


def test_leases(locked_file):
    """The kernel grants leases on this filesystem as it does on others, or says no."""
    with open(locked_file, "rb") as file:
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            assert error.errno == 22
        else:
            assert fcntl.fcntl(file, fcntl.F_GETLEASE) == fcntl.F_RDLCK
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
