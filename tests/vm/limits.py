# SPDX-License-Identifier: BSD-3-Clause
"""limits.py FOLDER: what a program hears where there is no space left for it. Prints the errors of write(2), of
fallocate(2), and of a store to a hole of a mapped file: a signal's name, or msync's error."""

import contextlib
import errno
import mmap
import os
import signal
import sys
import time

UNIT = 2 << 20
folder = sys.argv[1]


@contextlib.contextmanager
def new_file(name):
    fd = os.open(f"{folder}/{name}", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        yield fd
    finally:
        os.close(fd)


def error_of(function):
    try:
        function()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "OK"


def write_on(fd):
    done = 0
    try:
        while True:
            done += os.write(fd, b"x" * (1 << 20))
    finally:
        assert os.fstat(fd).st_size == done


def store(fd):
    with mmap.mmap(fd, UNIT) as mapping:
        mapping[5] = 5
        mapping.flush()


def outcome_of(function):
    """Of a child."""
    pid = os.fork()
    if not pid:
        print(error_of(function), flush=True)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        print(signal.Signals(os.WTERMSIG(status)).name, flush=True)


with new_file("written") as fd:
    print(error_of(lambda: write_on(fd)), flush=True)
with new_file("allocated") as fd:
    print(error_of(lambda: os.posix_fallocate(fd, 0, 16 * UNIT)), flush=True)
with new_file("hole") as fd:
    os.ftruncate(fd, UNIT)
    outcome_of(lambda: store(fd))
for name in ("written", "allocated", "hole"):
    os.unlink(f"{folder}/{name}")
# the window lets go of them a little later
end = time.monotonic() + 120
with new_file("written") as fd:
    while error_of(lambda: os.pwrite(fd, bytes(UNIT), 0)) != "OK" and time.monotonic() < end:
        time.sleep(0.1)
    print("OK" if os.fstat(fd).st_size == UNIT else "full")
os.unlink(f"{folder}/written")
