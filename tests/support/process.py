# SPDX-License-Identifier: BSD-3-Clause
"""Functions run in processes of their own: as another user, or at the same time."""

import ctypes
import errno
import os
import pickle
import select
import time
import traceback
from contextlib import contextmanager, suppress

import pytest

USER = 65534  # nobody
PR_SET_DUMPABLE = 4

libc = ctypes.CDLL(None)


def become(user, groups=()):
    """As a program that this user has executed: who changes its user may not be looked at by others
    of that user otherwise."""
    os.setgroups(groups)
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    libc.prctl(PR_SET_DUMPABLE, 1)


class Child:
    """function(*args) in a forked process; result() waits for it and returns or raises what it did."""

    def __init__(self, function, *args, user=None, groups=(), umask=None):
        self._read, write = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(write)
            return
        os.close(self._read)
        try:
            if umask is not None:
                os.umask(umask)
            if user is not None:
                become(user, groups)
            answer = (True, function(*args))
        except OSError as error:
            answer = (False, error)
        except BaseException:
            answer = (False, AssertionError(traceback.format_exc()))
        try:
            with open(write, "wb") as out:
                pickle.dump(answer, out)
        finally:
            os._exit(0)

    def is_over(self, seconds=0):
        """Whether there is a result, or is one before so long."""
        return bool(select.select([self._read], [], [], seconds)[0])

    def result(self):
        with open(self._read, "rb") as answer:
            data = answer.read()
        os.waitpid(self.pid, 0)
        good, value = pickle.loads(data)
        if good:
            return value
        raise value


def run_as(user, function, *args, groups=(), umask=None):
    return Child(function, *args, user=user, groups=groups, umask=umask).result()


def concurrently(function, arguments):
    """function(argument) for each, all at the same time; the list of results."""
    children = [Child(function, argument) for argument in arguments]
    return [child.result() for child in children]


@contextmanager
def opened(path, flags=os.O_RDONLY):
    """A descriptor, which the block may have closed itself."""
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        with suppress(OSError):
            os.close(fd)


@contextmanager
def fails(name):
    """with fails("ENOENT"): the block raises OSError with that errno."""
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno == getattr(errno, name), f"{name} expected, got {caught.value}"


def eventually(ask, wanted):
    """ask()'s answer, given time to become `wanted`: of what the kernel tells a daemon later."""
    for _ in range(500):
        answer = ask()
        if answer == wanted:
            break
        time.sleep(0.01)
    return answer
