# SPDX-License-Identifier: BSD-3-Clause
"""
A front end of vhost-user and a driver of virtio-fs, without a VMM and without a kernel: guest memory
is a memfd, queues are laid out in it, requests are bytes. It does what is right, and with the methods
in lower levels what is wrong. It needs nothing of daxfuse, any back end on a socket will do.
"""

import ctypes
import fcntl
import mmap
import os
import select
import socket
import struct
import threading
import time

PAGE = 4096
MIB = 1 << 20

(GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE) = range(1, 6)
(SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL,
 SET_VRING_ERR, GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE) = range(8, 19)
GET_CONFIG, RESET_DEVICE, GET_MAX_MEM_SLOTS, ADD_MEM_REG, REM_MEM_REG = 24, 34, 36, 37, 38

VERSION, REPLY, NEED_REPLY = 1, 4, 8
INDIRECT, EVENT_IDX, PROTOCOL, VERSION_1 = (1 << bit for bit in (28, 29, 30, 32))
MQ, REPLY_ACK, CONFIG, MEM_SLOTS = (1 << bit for bit in (0, 3, 9, 15))
NEXT, WRITE, IS_INDIRECT = 1, 2, 4

GUEST_BASE = 1 << 32  # where the memory begins, as the guest sees it, and as the VMM does
USER_BASE = 0x7f0000000000
WINDOW_BASE, WINDOW_USER_BASE = 1 << 40, 0x600000000000
LIMIT = 60  # seconds; only what hangs takes so long


class Gone(Exception):
    """The back end has closed the connection."""


class Silent(Exception):
    """A request is not answered."""


def eventfd():
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)


class FrontEnd:
    """A connection, and memory of the guest."""

    def __init__(self, path, memory=16 * MIB, features=INDIRECT | EVENT_IDX | PROTOCOL | VERSION_1,
                 protocol=MQ | REPLY_ACK | CONFIG | MEM_SLOTS, start=True, limit=LIMIT, adapts=False):
        self.features, self.protocol = features, protocol
        self.adapts = adapts  # takes less, where less is offered
        self.limit = limit  # seconds
        self.size = memory
        self.memfd = os.memfd_create("guest")
        os.ftruncate(self.memfd, memory)
        self.memory = mmap.mmap(self.memfd, memory)
        self.queues = {}
        self.next_free = 2 * MIB  # what is below is for queues
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(LIMIT)
        self.socket.connect(str(path))
        self.talk = threading.RLock()  # over a message and its answer
        if start:
            self.negotiate()
            self.set_memory()

    # ---- messages

    def send(self, kind, payload=b"", fds=(), flags=VERSION, size=None):
        header = struct.pack("III", kind, flags, len(payload) if size is None else size)
        try:
            socket.send_fds(self.socket, [header + payload], fds) if fds else \
                self.socket.sendall(header + payload)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Gone from error

    def receive(self, kind):
        data = self.read(12)
        got, flags, size = struct.unpack("III", data)
        assert got == kind and flags & REPLY
        return self.read(size)

    def read(self, size):
        data = b""
        while len(data) < size:
            try:
                part = self.socket.recv(size - len(data))
            except ConnectionResetError as error:
                raise Gone from error
            if not part:
                raise Gone
            data += part
        return data

    def ask(self, kind, payload=b""):
        with self.talk:
            self.send(kind, payload)
            return self.receive(kind)

    def number(self, kind):
        return struct.unpack("Q", self.ask(kind))[0]

    def tell(self, kind, payload=b"", fds=()):
        """With an acknowledgement, if that was agreed on: 0 is success."""
        if not self.protocol & REPLY_ACK:
            self.send(kind, payload, fds)
            return 0
        with self.talk:
            self.send(kind, payload, fds, VERSION | NEED_REPLY)
            return struct.unpack("Q", self.receive(kind))[0]

    def must(self, *args, **kwargs):
        assert self.tell(*args, **kwargs) == 0

    def negotiate(self):
        offered = self.number(GET_FEATURES), self.number(GET_PROTOCOL_FEATURES)
        if self.adapts:
            self.features, self.protocol = self.features & offered[0], self.protocol & offered[1]
        assert offered[0] & self.features == self.features and offered[1] & self.protocol == self.protocol
        self.send(SET_PROTOCOL_FEATURES, struct.pack("Q", self.protocol))
        self.send(SET_OWNER)
        self.must(SET_FEATURES, struct.pack("Q", self.features))

    def region(self, guest=GUEST_BASE, size=None, user=USER_BASE, offset=0):
        return struct.pack("4Q", guest, self.size if size is None else size, user, offset)

    def set_memory(self, *regions, fds=None):
        regions = regions or (self.region(),)
        fds = [self.memfd] * len(regions) if fds is None else fds
        return self.tell(SET_MEM_TABLE, struct.pack("II", len(regions), 0) + b"".join(regions), fds)

    def disconnect(self):
        self.socket.close()

    def close(self):
        """Once more is fine."""
        self.disconnect()
        while self.queues:
            self.queues.popitem()[1].close()
        if not self.memory.closed:
            self.memory.close()
            os.close(self.memfd)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()

    # ---- memory

    def place(self, data, align=16):
        """Bytes somewhere in the guest's memory: their offset."""
        size = max(len(data) if isinstance(data, bytes) else data, 1)
        at = -(-self.next_free // align) * align
        if at + size > self.size:
            at = 2 * MIB
        self.next_free = at + size
        if isinstance(data, bytes):
            self.memory[at:at + len(data)] = data
        return at

    def queue(self, index=1, size=64):
        self.queues[index] = Queue(self, index, size)
        return self.queues[index]


class Queue:
    """A split virtqueue of the driver, at a place of its own below 2 MiB."""

    def __init__(self, front, index, size):
        self.front, self.index, self.size = front, index, size
        base = index * 128 * 1024
        self.desc, self.avail, self.used = base, base + 64 * 1024, base + 96 * 1024
        self.kick, self.call = eventfd(), eventfd()
        self.next_avail = self.last_used = 0
        self.start()

    def start(self, base=0):
        front, index = self.front, self.index
        front.must(SET_VRING_NUM, struct.pack("II", index, self.size))
        front.must(SET_VRING_BASE, struct.pack("II", index, base))
        front.must(SET_VRING_ADDR, struct.pack("II4Q", index, 0, USER_BASE + self.desc,
                                               USER_BASE + self.used, USER_BASE + self.avail, 0))
        front.must(SET_VRING_CALL, struct.pack("Q", index), [self.call])
        front.must(SET_VRING_KICK, struct.pack("Q", index), [self.kick])
        if front.features & PROTOCOL:
            front.must(SET_VRING_ENABLE, struct.pack("II", index, 1))

    def memory_reset(self):
        """As a driver leaves it that begins anew."""
        self.front.memory[self.desc:self.desc + 128 * 1024] = bytes(128 * 1024)
        self.next_avail = self.last_used = 0

    def stop(self):
        return struct.unpack("II", self.front.ask(GET_VRING_BASE, struct.pack("II", self.index, 0)))[1]

    def close(self):
        os.close(self.kick)
        os.close(self.call)

    def word(self, at, *value):
        memory = self.front.memory
        if value:
            memory[at:at + 2] = struct.pack("H", value[0] & 0xffff)
        return struct.unpack("H", memory[at:at + 2])[0]

    def put_desc(self, i, addr, length, flags=0, following=0):
        at = self.desc + 16 * i
        self.front.memory[at:at + 16] = struct.pack("QIHH", addr, length, flags, following)

    def offer(self, head):
        """A chain that begins there, and a kick."""
        self.word(self.avail + 4 + 2 * (self.next_avail % self.size), head)
        self.next_avail += 1
        self.word(self.avail + 2, self.next_avail)
        self.do_kick()

    def do_kick(self):
        os.write(self.kick, struct.pack("Q", 1))

    def used_index(self):
        return self.word(self.used + 2)

    def wait(self, limit=None):
        """The next used element: (head, bytes written). Through the interrupt, which must come."""
        end = time.monotonic() + (limit or self.front.limit)
        while self.used_index() == self.last_used & 0xffff:
            ready, _, _ = select.select([self.call], [], [], max(end - time.monotonic(), 0))
            if not ready:
                raise Silent
            os.read(self.call, 8)
        at = self.used + 4 + 8 * (self.last_used % self.size)
        self.last_used += 1
        self.word(self.avail + 4 + 2 * self.size, self.last_used)  # tell us of the next one, too
        return struct.unpack("II", self.front.memory[at:at + 8])

    def chain(self, readable, room, indirect=False, pieces=1):
        """Descriptors for these bytes, and for an answer of so many: the answer's places."""
        front = self.front
        parts = [(front.place(part), len(part), 0) for part in readable]
        outs = []
        for i in range(pieces if room else 0):
            length = room // pieces + (room % pieces if i == pieces - 1 else 0)
            outs.append((front.place(bytes(length)), length, WRITE))
        descs = parts + outs
        table = b"".join(struct.pack("QIHH", GUEST_BASE + at, length,
                                     flags | (NEXT if i + 1 < len(descs) else 0), i + 1)
                         for i, (at, length, flags) in enumerate(descs))
        if indirect:
            self.put_desc(0, GUEST_BASE + front.place(table), len(table), IS_INDIRECT)
        else:
            assert len(descs) <= self.size
            front.memory[self.desc:self.desc + len(table)] = table
        return outs

    def ask(self, readable, room, **how):
        """One request: the bytes of its answer, as many as the used ring says."""
        outs = self.chain(readable, room, **how)
        self.offer(0)
        head, written = self.wait()
        assert head == 0 and written <= room
        data = b"".join(bytes(self.front.memory[at:at + length]) for at, length, _ in outs)
        assert written == len(data) or not any(data[written:])
        return data[:written]


# ---- FUSE

ROOT = 1
(LOOKUP, FORGET, GETATTR, SETATTR, READLINK, SYMLINK) = range(1, 7)
(MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK, OPEN, READ, WRITE_, STATFS, RELEASE) = range(8, 19)
(FSYNC, SETXATTR, GETXATTR, LISTXATTR, REMOVEXATTR, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR,
 FSYNCDIR) = range(20, 31)
(ACCESS, CREATE, INTERRUPT, BMAP, DESTROY, IOCTL, POLL) = range(34, 41)
(BATCH_FORGET, FALLOCATE, READDIRPLUS, RENAME2, LSEEK, COPY_FILE_RANGE, SETUPMAPPING, REMOVEMAPPING,
 SYNCFS, TMPFILE, STATX) = range(42, 53)
OPCODES = range(64)
MODE, UID, GID, SIZE, ATIME, MTIME, FH, ATIME_NOW, MTIME_NOW = (1 << bit for bit in range(9))
SETXATTR_EXT, INIT_EXT = 1 << 29, 1 << 30
ALL_FLAGS = 0xffffffff


class Guest:
    """A guest's kernel, as far as it speaks FUSE: a method for each request, OSError for its error."""

    def __init__(self, path, init=True, size=64, uid=0, gid=0, **how):
        self.front = FrontEnd(path, **how)
        self.urgent, self.queue = self.front.queue(0, size), self.front.queue(1, size)
        self.uid, self.gid = uid, gid
        self.unique = 0
        self.indirect = False
        self.pieces = 1
        if init:
            self.init()

    def close(self):
        self.front.close()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()

    def header(self, opcode, node, size):
        self.unique += 2
        return struct.pack("IIQQIIIHH", 40 + size, opcode, self.unique, node, self.uid, self.gid, 1, 0, 0)

    def raw(self, opcode, node, body, room, queue=None):
        """The whole answer."""
        parts = [self.header(opcode, node, len(body)), *([body] if body else [])]
        return (queue or self.queue).ask(parts, room, indirect=self.indirect, pieces=self.pieces)

    def call(self, opcode, node, body=b"", room=4096):
        answer = self.raw(opcode, node, body, room + 16)
        length, error, unique = struct.unpack("IiQ", answer[:16])
        assert length == len(answer) and unique == self.unique
        if error:
            assert length == 16 and -512 < error < 0
            raise OSError(-error, os.strerror(-error))
        return answer[16:]

    def init(self, minor=45, flags=ALL_FLAGS):
        body = struct.pack("IIIII44x", 7, minor, 1 << 17, flags, ALL_FLAGS)
        answer = self.call(INIT, 0, body)
        assert len(answer) == 64
        self.agreed = struct.unpack("IIIIHHIIHHI28x", answer)
        return self.agreed

    # ---- names

    @staticmethod
    def entry(data):
        node, generation, entry_valid, attr_valid = struct.unpack("4Q", data[:32])
        return node, Guest.attr(data[40:128])

    @staticmethod
    def attr(data):
        words = struct.unpack("6Q10I", data)
        names = "ino size blocks atime mtime ctime atimensec mtimensec ctimensec mode nlink uid gid rdev " \
                "blksize flags"
        return dict(zip(names.split(), words))

    @staticmethod
    def name(name):
        return (name if isinstance(name, bytes) else name.encode()) + b"\0"

    def lookup(self, parent, name):
        return self.entry(self.call(LOOKUP, parent, self.name(name)))

    def walk(self, path):
        node = ROOT
        for name in path.split("/"):
            node, _ = self.lookup(node, name)
        return node

    def mknod(self, parent, name, mode=0o100644, rdev=0, umask=0o22):
        return self.entry(self.call(MKNOD, parent, struct.pack("4I", mode, rdev, umask, 0) + self.name(name)))

    def mkdir(self, parent, name, mode=0o755, umask=0o22):
        return self.entry(self.call(MKDIR, parent, struct.pack("2I", mode, umask) + self.name(name)))

    def symlink(self, parent, name, target):
        return self.entry(self.call(SYMLINK, parent, self.name(name) + self.name(target)))

    def readlink(self, node):
        return self.call(READLINK, node).decode()

    def link(self, node, parent, name):
        return self.entry(self.call(LINK, parent, struct.pack("Q", node) + self.name(name)))

    def unlink(self, parent, name):
        self.call(UNLINK, parent, self.name(name))

    def rmdir(self, parent, name):
        self.call(RMDIR, parent, self.name(name))

    def rename(self, parent, name, new_parent, new_name, flags=None):
        names = self.name(name) + self.name(new_name)
        if flags is None:
            self.call(RENAME, parent, struct.pack("Q", new_parent) + names)
        else:
            self.call(RENAME2, parent, struct.pack("QII", new_parent, flags, 0) + names)

    def forget(self, node, lookups=1):
        body = struct.pack("Q", lookups)
        assert self.raw(FORGET, node, body, 0, self.urgent) == b""

    def batch_forget(self, *nodes):
        body = struct.pack("II", len(nodes), 0) + b"".join(struct.pack("QQ", node, 1) for node in nodes)
        assert self.raw(BATCH_FORGET, 0, body, 0, self.urgent) == b""

    # ---- files

    def open(self, node, flags=os.O_RDWR):
        return struct.unpack("QII", self.call(OPEN, node, struct.pack("II", flags, 0)))[0]

    def create(self, parent, name, flags=os.O_RDWR, mode=0o644, umask=0o22, opcode=CREATE):
        data = self.call(opcode, parent, struct.pack("4I", flags, mode, umask, 0) + self.name(name))
        return (*self.entry(data), struct.unpack("QII", data[128:])[0])

    def tmpfile(self, parent, **how):
        return self.create(parent, "/", opcode=TMPFILE, **how)

    def release(self, node, fh):
        self.call(RELEASE, node, struct.pack("QIIQ", fh, 0, 0, 0))

    def read(self, node, fh, offset=0, size=PAGE, room=None):
        return self.call(READ, node, struct.pack("QQIIQII", fh, offset, size, 0, 0, 0, 0),
                         size if room is None else room)

    def write(self, node, fh, data, offset=0, flags=0, open_flags=0):
        body = struct.pack("QQIIQII", fh, offset, len(data), flags, 0, open_flags, 0) + data
        return struct.unpack("II", self.call(WRITE_, node, body))[0]

    def fsync(self, node, fh):
        self.call(FSYNC, node, struct.pack("QII", fh, 0, 0))

    def ioctl(self, node, fh, number, data=b"", room=0, flags=0):
        """`data` goes along, `room` bytes come back."""
        answer = self.call(IOCTL, node, struct.pack("QIIQII", fh, flags, number, 0, len(data), room) + data, 16 + room)
        result, _, _, _ = struct.unpack("iIII", answer[:16])
        assert result == 0 and len(answer) == 16 + room
        return answer[16:]

    def fallocate(self, node, fh, mode, offset, length):
        self.call(FALLOCATE, node, struct.pack("3QII", fh, offset, length, mode, 0))

    def lseek(self, node, fh, offset, whence):
        return struct.unpack("Q", self.call(LSEEK, node, struct.pack("QQII", fh, offset, whence, 0)))[0]

    def copy_range(self, node, fh, offset, to, to_fh, to_offset, length):
        body = struct.pack("7Q", fh, offset, to, to_fh, to_offset, length, 0)
        return struct.unpack("II", self.call(COPY_FILE_RANGE, node, body))[0]

    # ---- directories and attributes

    def opendir(self, node):
        return struct.unpack("QII", self.call(OPENDIR, node, bytes(8)))[0]

    def releasedir(self, node, fh):
        self.call(RELEASEDIR, node, struct.pack("QIIQ", fh, 0, 0, 0))

    def readdir(self, node, size=PAGE, plus=False, fh=0):
        """All entries: {name: ino}, and with plus {name: (node, attr)}."""
        entries, offset = {}, 0
        while True:
            body = struct.pack("QQIIQII", fh, offset, size, 0, 0, 0, 0)
            data = self.call(READDIRPLUS if plus else READDIR, node, body, size)
            if not data:
                return entries
            while data:
                skip = 128 if plus else 0
                ino, offset, length, _ = struct.unpack("QQII", data[skip:skip + 24])
                name = data[skip + 24:skip + 24 + length].decode()
                entries[name] = self.entry(data[:128]) if plus else ino
                data = data[-(-(skip + 24 + length) // 8) * 8:]

    def getattr(self, node):
        return self.attr(self.call(GETATTR, node, bytes(16))[16:])

    def setattr(self, node, valid, size=0, mode=0, uid=0, gid=0, mtime=0, mtimensec=0):
        body = struct.pack("IIQQQQQQIIIIIIII", valid, 0, 0, size, 0, 0, mtime, 0, 0, mtimensec, 0, mode, 0,
                           uid, gid, 0)
        return self.attr(self.call(SETATTR, node, body)[16:])

    def statfs(self, node=ROOT):
        return struct.unpack("5Q4I24x", self.call(STATFS, node))

    def setxattr(self, node, name, value, flags=0, more=0):
        head = struct.pack("4I", len(value), flags, more, 0)
        if not self.agreed[3] & SETXATTR_EXT:
            head = head[:8]
        self.call(SETXATTR, node, head + self.name(name) + value)

    def getxattr(self, node, name, size=PAGE):
        return self.call(GETXATTR, node, struct.pack("II", size, 0) + self.name(name), size or 8)

    def listxattr(self, node, size=PAGE):
        return self.call(LISTXATTR, node, struct.pack("II", size, 0), size or 8)

    def removexattr(self, node, name):
        self.call(REMOVEXATTR, node, self.name(name))


# ---- a DAX window

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
