# SPDX-License-Identifier: BSD-3-Clause
"""The driver's FUSE over a queue: a method for each request of a guest's kernel."""

import os
import struct

from support.vhost.front_end import PAGE, FrontEnd

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
