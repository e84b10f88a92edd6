# SPDX-License-Identifier: BSD-3-Clause
"""
The connection of a VMM to a back end, and its guest's queues: guest memory is a memfd, queues are laid
out in it, requests are bytes. It does what is right, and with the methods in lower levels what is wrong.
"""

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
