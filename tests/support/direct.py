# SPDX-License-Identifier: BSD-3-Clause
"""A program with direct mappings, as bare as the protocol (include/daxfuse/{ioctl,direct}.h) is:
what libdaxmap does, and what it never would."""

import ctypes
import errno
import fcntl
import mmap
import os
import socket
import struct
import threading

MIB = 1 << 20
UNIT = 2 * MIB
PAGE = 4096
TO_END = (1 << 64) - 1

READ, WRITE, EAGER = range(3)
ZERO, WRITABLE, HUGE = 1, 2, 4
HELLO, WELCOME, REFUSED, UNMAP, LET_GO, PROTECT, PROTECTED = range(1, 8)
VERSION = 1
SAYS_MOUNT = 8  # a flag of WELCOME
PIECES = 127


def _ioc(direction, number, size):
    return direction << 30 | size << 16 | 0xdf << 8 | number


class Piece(ctypes.Structure):
    _fields_ = [("file_offset", ctypes.c_uint64), ("length", ctypes.c_uint64),
                ("device_offset", ctypes.c_uint64), ("grant", ctypes.c_uint64),
                ("drop_offset", ctypes.c_uint64), ("drop_length", ctypes.c_uint64),
                ("flags", ctypes.c_uint32), ("reason", ctypes.c_uint32)]


class Map(ctypes.Structure):
    _fields_ = [("session", ctypes.c_uint64), ("cookie", ctypes.c_uint64),
                ("offset", ctypes.c_uint64), ("length", ctypes.c_uint64),
                ("start", ctypes.c_uint64), ("end", ctypes.c_uint64),
                ("access", ctypes.c_uint32), ("pages", ctypes.c_uint32),
                ("size", ctypes.c_uint64), ("count", ctypes.c_uint32),
                ("reserved", ctypes.c_uint32), ("piece", Piece * PIECES),
                ("last_grant", ctypes.c_uint64), ("reserved2", ctypes.c_uint64 * 6)]


class Message(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_uint32), ("version", ctypes.c_uint32),
                ("session", ctypes.c_uint64), ("cookie", ctypes.c_uint64),
                ("offset", ctypes.c_uint64), ("length", ctypes.c_uint64),
                ("grant", ctypes.c_uint64), ("flags", ctypes.c_uint32),
                ("error", ctypes.c_int32), ("text", ctypes.c_char * 192)]


DIRECT = _ioc(2, 10, 128)
MAP = _ioc(3, 11, ctypes.sizeof(Map))
UNMAP_RANGE = _ioc(1, 12, 24)
PIN, UNPIN, PROMOTE = (_ioc(1, number, 16) for number in (13, 14, 15))
MAPPED = _ioc(2, 16, 4096)

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                      ctypes.c_int64]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def socket_of(path):
    """The path of the control socket of the mount that has `path`."""
    fd = os.open(path, os.O_RDONLY)
    try:
        answer = bytearray(128)
        fcntl.ioctl(fd, DIRECT, answer)
        return answer[:108].split(b"\0")[0].decode()
    finally:
        os.close(fd)


class Program:
    """A connection; answers every question with the truth, unless `answers` is False."""

    def __init__(self, path, session=0, answers=True, version=VERSION):
        self.path = socket_of(path)
        self.answers = answers
        self.asked = []  # messages
        self.device = -1
        self.files = {}
        self.lock = threading.RLock()
        self.connect(session, version)

    def connect(self, session=0, version=VERSION):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(self.path)
        self.socket.send(bytes(Message(kind=HELLO, version=version, session=session)))
        data, fds, _, _ = socket.recv_fds(self.socket, ctypes.sizeof(Message), 1)
        self.welcome = Message.from_buffer_copy(data)
        if self.welcome.kind != WELCOME:
            raise OSError(self.welcome.error, self.welcome.text.decode())
        self.session = self.welcome.session
        if self.device >= 0:
            os.close(self.device)
        self.device = fds[0]
        self.listener = threading.Thread(target=self.listen, args=(self.socket,), daemon=True)
        self.listener.start()

    def listen(self, connection):
        while True:
            try:
                data = connection.recv(ctypes.sizeof(Message))
            except OSError:
                return
            if not data:
                return
            message = Message.from_buffer_copy(data)
            with self.lock:
                self.asked.append(Message.from_buffer_copy(data))
                file = self.files.get(message.cookie)
                if not self.answers:
                    continue
                if file and message.kind == UNMAP:
                    file.void = max(file.void, message.grant)
                    file.drop(message.offset, message.length)
                message.kind = LET_GO if message.kind == UNMAP else PROTECTED
                connection.send(bytes(message))

    def open(self, path, flags=os.O_RDWR):
        return File(self, path, flags)

    def close(self):
        for file in list(self.files.values()):
            file.close()
        if self.socket.fileno() < 0:
            return
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        os.close(self.device)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()


class File:
    cookies = 0

    def __init__(self, program, path, flags):
        File.cookies += 1
        self.cookie = File.cookies
        self.program = program
        self.fd = os.open(path, flags)
        self.pieces = {}  # file offset -> (Piece, address)
        self.void = 0  # a piece with a number up to this may have been let go of before it came
        program.files[self.cookie] = self

    def ask(self, offset=0, length=TO_END, access=READ, start=0, end=TO_END, pages=0, **other):
        """The pieces that DXF_IOC_MAP says, not mapped."""
        call = Map(session=self.program.session, cookie=self.cookie, offset=offset, length=length,
                   start=start, end=end, access=access, pages=pages)
        for name, value in other.items():
            setattr(call, name, value)
        # not fcntl.ioctl(): with so large an argument it keeps the listener from running
        if libc.ioctl(self.fd, ctypes.c_ulong(MAP), ctypes.byref(call)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self.size = call.size
        return call.piece[:call.count]

    def map(self, *args, **kwargs):
        """Ask, and map: the pieces."""
        pieces = self.ask(*args, **kwargs)
        with self.program.lock:
            for piece in pieces:
                if piece.grant <= self.void:
                    continue
                self.drop(piece.file_offset, piece.length)
                self.pieces[piece.file_offset] = (piece, self.map_piece(piece))
        return pieces

    def map_piece(self, piece):
        protection = mmap.PROT_READ
        if piece.flags & WRITABLE:
            protection |= mmap.PROT_WRITE
        if piece.flags & ZERO:
            address = libc.mmap(None, piece.length, protection,
                                mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        else:
            address = libc.mmap(None, piece.length, protection, mmap.MAP_SHARED,
                                self.program.device, piece.device_offset)
        assert address != ctypes.c_void_p(-1).value, os.strerror(ctypes.get_errno())
        return address

    def spans(self, offset, length):
        """(address, length) of each piece that the range lies in."""
        while length:
            piece, at = next((piece, at) for piece, at in self.pieces.values()
                             if piece.file_offset <= offset < piece.file_offset + piece.length)
            part = min(length, piece.file_offset + piece.length - offset)
            yield at + offset - piece.file_offset, part
            offset += part
            length -= part

    def load(self, offset, length):
        return b"".join(ctypes.string_at(*span) for span in self.spans(offset, length))

    def store(self, offset, data):
        done = 0
        for address, length in self.spans(offset, len(data)):
            ctypes.memmove(address, data[done:done + length], length)
            done += length

    def drop(self, offset=0, length=TO_END):
        """Unmap whatever reaches into the range, and tell nobody."""
        with self.program.lock:
            for at, (piece, address) in list(self.pieces.items()):
                if at < offset + length and offset < at + piece.length:
                    libc.munmap(address, piece.length)
                    del self.pieces[at]

    def drop_zeroes(self):
        with self.program.lock:
            for piece, _ in list(self.pieces.values()):
                if piece.flags & ZERO:
                    self.drop(piece.file_offset, piece.length)

    def let_go(self, offset=0, length=TO_END):
        self.drop(offset, length)
        fcntl.ioctl(self.fd, UNMAP_RANGE, struct.pack("QQQ", offset, length, TO_END))

    def pin(self, offset, length):
        fcntl.ioctl(self.fd, PIN, struct.pack("QQ", offset, length))

    def unpin(self, offset, length):
        fcntl.ioctl(self.fd, UNPIN, struct.pack("QQ", offset, length))

    def promote(self, offset, length):
        fcntl.ioctl(self.fd, PROMOTE, struct.pack("QQ", offset, length))

    def close(self):
        if self.fd < 0:
            return
        self.drop()
        os.close(self.fd)
        self.fd = -1
        self.program.files.pop(self.cookie, None)


def error_of(call, *args, **kwargs):
    """The name of the errno that the call fails with; None if it does not."""
    try:
        call(*args, **kwargs)
    except OSError as error:
        return errno.errorcode[error.errno]
    return None
