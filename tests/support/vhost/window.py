# SPDX-License-Identifier: BSD-3-Clause
"""A VMM's DAX window, in the dialects of three, and a guest that has one."""

import ctypes
import fcntl
import os
import socket
import struct
import threading

from support.vhost.front_end import (ADD_MEM_REG, CONFIG, Gone, MEM_SLOTS, MIB, MQ, NEED_REPLY, PAGE,
                                     REM_MEM_REG, REPLY, REPLY_ACK, VERSION, WINDOW_BASE, WINDOW_USER_BASE)
from support.vhost.guest import REMOVEMAPPING, ROOT, SETUPMAPPING, Guest

SHMEM, SHMEM_OF_ALIOTH = 1 << 22, 1 << 21
BACKEND_CHANNEL, BACKEND_FDS = 1 << 5, 1 << 10
SET_BACKEND_CHANNEL, GET_SHMEM_CONFIG = 21, 44
BARRIER, SHMEM_MAP, SHMEM_UNMAP = 7, 9, 10
UNIT = 2 * MIB
MAP_ALIGNMENT = 1 << 26
HAS_INODE_DAX = 1 << (33 - 32)
ATTR_DAX = 2
SETUP_WRITE, SETUP_READ = 1, 2
NO_HANDLE = (1 << 64) - 1

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
PROT_READ, PROT_WRITE, MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS = 1, 2, 1, 2, 16, 32


class Dialect:
    """What a VMM does with requests for its window, as its source shows."""

    def __init__(self, name, feature, asks_size=True, early=False, over=False, read_only=False, slots=False,
                 tells=False):
        self.name, self.feature, self.asks_size, self.early = name, feature, asks_size, early
        self.over, self.read_only, self.slots, self.tells = over, read_only, slots, tells

    def protocol(self):
        return (MQ | REPLY_ACK | CONFIG | BACKEND_CHANNEL | BACKEND_FDS | self.feature |
                (MEM_SLOTS if self.slots else 0))


QEMU = Dialect("qemu", SHMEM, early=True, slots=True, tells=True)
CROSVM = Dialect("crosvm", SHMEM, read_only=True)
ALIOTH = Dialect("alioth", SHMEM_OF_ALIOTH, asks_size=False, over=True, read_only=True, slots=True)


class Window:
    """Memory of the VMM, and a thread that maps into it what the back end asks for."""

    def __init__(self, front, dialect, size):
        self.dialect, self.size, self.front = dialect, size, front
        # room to begin at a multiple of a unit, as a device-dax can be mapped at these only
        self.room = size + UNIT
        self.base = libc.mmap(None, self.room, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        self.at = -(-self.base // UNIT) * UNIT
        self.pieces = {}  # offset: (length, writable)
        self.places = {}  # what the back end was told of them as memory
        self.asked = []  # (kind, offset, length, flags) of all requests
        self.pending = []  # answered, and not in effect
        self.refuse = set()  # kinds that it says no to
        self.hold = threading.Event()  # while it is clear nothing is answered, nor:
        self.hold.set()
        self.hold_at = None
        self.waiting = False  # a request is there that is not answered
        self.answer = None  # what it says instead
        self.lock = threading.Lock()
        self.channel, theirs = socket.socketpair()
        front.must(SET_BACKEND_CHANNEL, b"", [theirs.fileno()])
        theirs.close()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        try:
            while True:
                header, fds, _, _ = socket.recv_fds(self.channel, 12, 1)
                if not header:
                    return
                kind, flags, size = struct.unpack("III", header)
                assert flags & NEED_REPLY and len(fds) == (kind == SHMEM_MAP)
                payload = self.channel.recv(size, socket.MSG_WAITALL)
                self.waiting = not self.hold.is_set() or kind == self.hold_at
                if kind == self.hold_at:
                    self.hold.clear()
                self.hold.wait()
                self.waiting = False
                if self.answer is not None:
                    for fd in fds:
                        os.close(fd)
                    self.channel.sendall(self.answer)
                    if not self.answer:
                        self.channel.shutdown(socket.SHUT_WR)
                    continue
                value = self.take(kind, payload, fds)
                self.channel.sendall(struct.pack("=IIIQ", kind, VERSION | REPLY, 8, value))
        except (OSError, Gone):
            pass
        for _, fd in self.pending:
            if fd is not None:
                os.close(fd)
        self.pending.clear()

    def take(self, kind, payload, fds):
        with self.lock:
            if kind == BARRIER:
                # what was asked for before is in effect by now
                self.commit()
                self.asked.append((kind, 0, 0, 0))
                return 1
            shmid, fd_offset, offset, length, flags = struct.unpack("B7x4Q", payload)
            self.asked.append((kind, offset, length, flags))
            bad = shmid or kind in self.refuse or offset + length > self.size or length % PAGE
            if kind == SHMEM_MAP:
                fd = fds[0]
                bad = bad or self.is_refused(fd, offset, length)
                if bad:
                    os.close(fd)
                    return 22
                writable = bool(flags & 1) or not self.dialect.read_only
                self.pieces[offset] = length, writable
                self.pending.append((lambda: self.map(fd, fd_offset, offset, length, writable), fd))
            else:
                if bad or self.pieces.get(offset, (0,))[0] != length:
                    return 22
                del self.pieces[offset]
                self.pending.append((lambda: self.unmap(offset, length), None))
            if not self.dialect.early:
                self.commit()
            return 0

    def is_refused(self, fd, offset, length):
        if any(at < offset + length and offset < at + size for at, (size, _) in self.pieces.items()):
            return not (self.dialect.over and self.pieces.get(offset, (0,))[0] == length)
        return not self.dialect.read_only and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDWR

    def commit(self):
        while self.pending:
            change, fd = self.pending[0]
            change()
            if fd is not None:
                os.close(fd)
            self.pending.pop(0)

    def map(self, fd, fd_offset, offset, length, writable):
        at = libc.mmap(self.at + offset, length, PROT_READ | (PROT_WRITE if writable else 0),
                       MAP_SHARED | MAP_FIXED, fd, fd_offset)
        assert at == self.at + offset, os.strerror(ctypes.get_errno())
        if self.dialect.tells:
            self.places[offset] = self.place(offset, length, fd_offset)
            self.front.must(ADD_MEM_REG, self.places[offset], [fd])

    @staticmethod
    def place(offset, length, fd_offset):
        return bytes(8) + struct.pack("4Q", WINDOW_BASE + offset, length, WINDOW_USER_BASE + offset, fd_offset)

    def unmap(self, offset, length):
        if self.dialect.tells and self.front.socket.fileno() >= 0:
            self.front.must(REM_MEM_REG, self.places.pop(offset))
        libc.mmap(self.at + offset, length, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)

    def reset(self):
        """As at the reset of a device: all is unmapped, and the back end not asked."""
        with self.lock:
            self.commit()
            for offset, (length, _) in self.pieces.items():
                self.unmap(offset, length)
            self.pieces.clear()

    # ---- the guest's loads and stores

    def is_mapped(self, offset, length=1):
        """In effect: pieces side by side that cover a range."""
        with self.lock:
            if self.pending:
                return False
            while length > 0:
                found = next(((at, size) for at, (size, _) in self.pieces.items() if at <= offset < at + size), None)
                if not found:
                    return False
                length -= found[0] + found[1] - offset
                offset = found[0] + found[1]
            return True

    def load(self, offset, length):
        assert self.is_mapped(offset, length)
        return ctypes.string_at(self.at + offset, length)

    def store(self, offset, data):
        assert self.is_mapped(offset, len(data)) and all(
            writable for at, (size, writable) in self.pieces.items() if at < offset + len(data) and offset < at + size)
        ctypes.memmove(self.at + offset, data, len(data))

    def close(self):
        """When the back end is done, which has a moment for what is mapped still."""
        self.hold.set()
        self.thread.join(5)
        if self.channel.fileno() >= 0:
            self.channel.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.channel.close()
        if self.base:
            libc.munmap(self.base, self.room)
        self.base = None


class WindowGuest(Guest):
    """A guest with a window, of a VMM of that dialect."""

    def __init__(self, path, dialect=QEMU, window=16 * UNIT, init=True, **how):
        super().__init__(path, init=False, protocol=dialect.protocol(), **how)
        self.path = path
        if dialect.asks_size:
            count, *sizes = struct.unpack("II256Q", self.front.ask(GET_SHMEM_CONFIG))
            assert count == 1 and not any(sizes[2:])
            window = sizes[1]
        self.window = Window(self.front, dialect, window)
        if init:
            self.init()

    def close(self):
        self.front.disconnect()
        self.window.close()
        super().close()

    def setup(self, node, offset=0, at=0, writes=False, length=UNIT, flags=None):
        flags = SETUP_READ | (SETUP_WRITE if writes else 0) if flags is None else flags
        assert self.call(SETUPMAPPING, node, struct.pack("5Q", NO_HANDLE, offset, length, flags, at)) == b""

    def remove(self, *pieces, node=ROOT):
        """(offset in the window, length) of each; or offsets of units."""
        pieces = [piece if isinstance(piece, tuple) else (piece, UNIT) for piece in pieces]
        body = struct.pack("I", len(pieces)) + b"".join(struct.pack("QQ", *piece) for piece in pieces)
        assert self.call(REMOVEMAPPING, node, body) == b""

    def load(self, offset, length):
        return self.window.load(offset, length)

    def store(self, offset, data):
        self.window.store(offset, data)
