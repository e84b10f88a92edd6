# SPDX-License-Identifier: BSD-3-Clause
"""
O_DIRECT, and asynchronous writes with it, beside readers through the page cache: whoever reads after
a write has ended sees it.
"""

import ctypes
import mmap
import os
import random
import struct
import threading

import pytest

from support.pagecache import is_cached

POOL_MODES = {"cached": ["dax=never"], "dax": ["dax=always"], "inode": ["dax=inode"], "auto": []}
IO_SETUP, IO_DESTROY, IO_GETEVENTS, IO_SUBMIT = 206, 207, 208, 209
PIECE, PIECES = 64 << 10, 16

libc = ctypes.CDLL(None, use_errno=True)


class Asynchronous:
    """One thread's queue of writes, as libaio has it."""

    def __init__(self):
        self.context = ctypes.c_ulong()
        assert libc.syscall(IO_SETUP, 8, ctypes.byref(self.context)) == 0
        self.memory = mmap.mmap(-1, PIECE)
        self.at = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))

    def pwrite(self, fd, data, offset):
        """Returns when it has ended."""
        self.memory[:] = data
        block = ctypes.create_string_buffer(struct.pack("<QIIHhIQQqQII", 0, 0, 0, 1, 0, fd, self.at,
                                                        len(data), offset, 0, 0, 0))
        event = ctypes.create_string_buffer(32)
        blocks = (ctypes.c_void_p * 1)(ctypes.addressof(block))
        assert libc.syscall(IO_SUBMIT, self.context, 1, blocks) == 1, ctypes.get_errno()
        assert libc.syscall(IO_GETEVENTS, self.context, 1, 1, event, None) == 1
        assert struct.unpack("<QQqq", event)[2] == len(data)

    def close(self):
        libc.syscall(IO_DESTROY, self.context)


class Direct:
    """The same with plain calls."""

    def __init__(self):
        self.memory = mmap.mmap(-1, PIECE)

    def pwrite(self, fd, data, offset):
        self.memory[:] = data
        assert os.pwrite(fd, self.memory, offset) == len(data)

    def close(self):
        pass


@pytest.mark.parametrize("writer", [Asynchronous, Direct])
@pytest.mark.parametrize("access", [os.O_RDWR, os.O_WRONLY, "later"])
def test_readers_beside_a_direct_writer(mnt, writer, access):
    path = mnt / "f"
    path.write_bytes(bytes(PIECE * PIECES))
    finished, over, stale = [0] * PIECES, threading.Event(), []

    def write(first):
        flags = os.O_RDWR if access == "later" else access | os.O_DIRECT
        fd, queue = os.open(path, flags), writer()
        if access == "later":
            import fcntl
            fcntl.fcntl(fd, fcntl.F_SETFL, os.O_DIRECT)
        rng = random.Random(first)
        while not over.is_set():
            piece = rng.randrange(first, PIECES, 4)
            number = finished[piece] + 1
            queue.pwrite(fd, struct.pack("<Q", number) * (PIECE // 8), piece * PIECE)
            finished[piece] = number
        queue.close()
        os.close(fd)

    def read(who):
        rng = random.Random(who)
        with open(path, "rb", buffering=0) as file:
            while not over.is_set():
                piece = rng.randrange(PIECES)
                least, at = finished[piece], piece * PIECE + rng.randrange(PIECE // 8) * 8
                seen, = struct.unpack("<Q", os.pread(file.fileno(), 8, at))
                if seen < least:
                    stale.append((piece, seen, least))
                    over.set()

    # the readers are there before anybody knows of direct writes
    threads = [threading.Thread(target=read, args=(who,)) for who in range(3)]
    threads += [threading.Thread(target=write, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    over.wait(1.5)
    for _ in range(600):
        if min(finished) == 0:
            over.wait(0.1)  # a machine that is slow
    over.set()
    for thread in threads:
        thread.join()
    assert not stale
    assert min(finished) > 0
    data = path.read_bytes()
    assert [struct.unpack_from("<Q", data, piece * PIECE)[0] for piece in range(PIECES)] == finished


@pytest.mark.parametrize("access", [os.O_RDWR, os.O_WRONLY])
def test_opens_that_drop_the_cache_beside_a_writer(mnt, access):
    """
    A write through the cache changes the page first. If the page is dropped before the write arrives,
    as somebody opens the file anew, and is read again, it must not stay old.
    """
    path = mnt / "f"
    path.write_bytes(bytes(4096))
    finished, over, stale = [0], threading.Event(), []

    def write():
        fd = os.open(path, access)
        while not over.is_set():
            os.pwrite(fd, struct.pack("<Q", finished[0] + 1), 0)
            finished[0] += 1
        os.close(fd)

    def read():
        while not over.is_set():
            fd = os.open(path, os.O_RDONLY)
            for _ in range(3):
                least = finished[0]
                seen, = struct.unpack("<Q", os.pread(fd, 8, 0))
                if seen < least:
                    stale.append((seen, least))
                    over.set()
            os.close(fd)

    threads = [threading.Thread(target=read) for _ in range(3)] + [threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    over.wait(5)
    over.set()
    for thread in threads:
        thread.join()
    assert not stale
    assert finished[0] > 0


def open_through_cache(path):
    """What has written the file may not be released yet: a reader goes past the cache then."""
    for _ in range(1000):
        file = open(path, "rb", buffering=0)
        file.read()
        if is_cached(file.fileno()):
            return file
        file.close()
    raise AssertionError("nobody reads it through the cache")


@pytest.mark.parametrize("access", [os.O_RDWR, os.O_WRONLY])
def test_a_log_stays_in_the_cache(pool, mnt, access):
    """A reader that has read is not about to drop the cache: others may write through it."""
    if not {"dax=never", "dax=inode"} & set(pool.options):
        pytest.skip("what is written to is not read through the cache")
    path = mnt / "log"
    path.write_bytes(bytes(4096))
    with open_through_cache(path) as reader:
        with open(os.open(path, access), "wb", buffering=0) as writer:
            for number in range(10):
                os.pwrite(writer.fileno(), b"%08d" % number, 0)
                assert is_cached(reader.fileno())
        assert os.pread(reader.fileno(), 8, 0) == b"%08d" % 9
