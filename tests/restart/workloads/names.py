# SPDX-License-Identifier: BSD-3-Clause
"""
A storm of calls that must happen exactly once: each answer is compared with the model's.
A call that is done twice shows as EEXIST or ENOENT where there should be success, as a
record that was appended twice, or as a range that was collapsed twice.
"""

import ctypes
import errno
import os
import stat

from support.syscalls import (FALLOC_COLLAPSE_RANGE, FALLOC_INSERT_RANGE, RENAME_EXCHANGE,
                              RENAME_NOREPLACE, change_range, libc, link_fd, renameat2)

from restart.workloads.base import Workload
from restart.workloads.model import DIRECTORY, FIFO, FILE, SYMLINK, Model, Node

BLOCK = 4096
LARGE = 6 * BLOCK  # a file that has grown past this is cut
HELD = 6           # files that are open at the same time


class Difference(AssertionError):
    """The mount and the model disagree."""


class Names(Workload):
    """Everything that changes names, attributes, or the place of data."""

    def prepare(self):
        super().prepare()
        self.model = Model(self.folder)
        self.held = []  # (descriptor, node)
        self.count = 0
        self.steps = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("do_")]

    def run(self, going):
        while going() or self.count < 100:
            self.count += 1
            self.random.choice(self.steps)()
            if self.count % 500 == 0:
                self.compare(self.model.root, self.folder)
        while self.held:
            self.release()
        self.compare(self.model.root, self.folder)
        return self.model

    def check(self, result):
        self.compare(result.root, self.folder)

    # ---- calls and what they must answer

    def call(self, wanted, what, function, *args):
        """The call's value; its errno must be `wanted`."""
        try:
            value, got = function(*args), 0
        except OSError as error:
            value, got = None, error.errno
        if got != wanted:
            raise Difference(f"call {self.count}, {what}: {errno.errorcode.get(got, got)}, not "
                             f"{errno.errorcode.get(wanted, wanted)}")
        return value

    def pick(self):
        return self.model.pick(self.random)

    def chunk(self):
        size = self.random.choice((1, 100, 1000, 5000))
        return (f"{self.seed}.{self.count} ".encode() * size)[:size]

    def make(self, what, kind, function, *args, **attributes):
        """A new object at a random spot."""
        spot = self.pick()
        wanted = self.model.predict_new(spot)
        value = self.call(wanted, f"{what} {spot.path}", function, *args, spot.path)
        if wanted == 0:
            spot.put(Node(kind, **attributes))
        return value, spot

    def do_create(self):
        fd, _ = self.make("create", FILE,
                          lambda path: os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644))
        if fd is not None:
            os.close(fd)

    do_create_too = do_create  # more often than others

    def do_mkdir(self):
        self.make("mkdir", DIRECTORY, lambda path: os.mkdir(path, 0o755), mode=0o755)

    def do_symlink(self):
        target = f"nowhere{self.count}"
        self.make("symlink", SYMLINK, lambda path: os.symlink(target, path), mode=0o777,
                  target=target)

    def do_mkfifo(self):
        self.make("mkfifo", FIFO, lambda path: os.mkfifo(path, 0o644))

    def do_tmpfile(self):
        """A file without a name gets one."""
        spot = self.pick()
        parent = os.path.dirname(spot.path)
        fd = self.call(0, f"O_TMPFILE in {parent}", os.open, parent, os.O_TMPFILE | os.O_RDWR,
                       0o644)
        try:
            data = self.chunk()
            if self.call(0, "write to it", os.write, fd, data) != len(data):
                raise Difference(f"call {self.count}: short write")
            wanted = self.model.predict_new(spot)
            self.call(wanted, f"linkat {spot.path}", link_fd, fd, spot.path)
        finally:
            os.close(fd)
        if wanted == 0:
            spot.put(Node(FILE))
            spot.node.data = data

    def do_link(self):
        old, new = self.pick(), self.pick()
        wanted = self.model.predict_link(old, new)
        self.call(wanted, f"link {old.path} {new.path}",
                  lambda: os.link(old.path, new.path, follow_symlinks=False))
        if wanted == 0:
            self.model.link(old.node, new)

    def do_unlink(self):
        spot = self.pick()
        wanted = self.model.predict_unlink(spot)
        self.call(wanted, f"unlink {spot.path}", os.unlink, spot.path)
        if wanted == 0:
            self.model.remove(spot)

    def do_rmdir(self):
        spot = self.pick()
        wanted = self.model.predict_rmdir(spot)
        self.call(wanted, f"rmdir {spot.path}", os.rmdir, spot.path)
        if wanted == 0:
            self.model.remove(spot)

    def rename(self, flags):
        old, new = self.pick(), self.pick()
        wanted = self.model.predict_rename(old, new, flags)
        self.call(wanted, f"rename {old.path} {new.path} {flags}", renameat2, old.path, new.path,
                  flags)
        if wanted == 0:
            self.model.rename(old, new, flags)

    def do_rename(self):
        self.rename(0)

    def do_rename_new(self):
        self.rename(RENAME_NOREPLACE)

    def do_exchange(self):
        self.rename(RENAME_EXCHANGE)

    # ---- attributes

    def do_xattr_create(self):
        self.set_xattr(os.XATTR_CREATE, False)

    def do_xattr_replace(self):
        self.set_xattr(os.XATTR_REPLACE, True)

    def set_xattr(self, flag, must_be):
        spot, name = self.pick(), self.random.choice(("user.a", "user.b"))
        wanted = self.model.predict_xattr(spot, name, must_be)
        value = self.chunk()[:2000]
        self.call(wanted, f"setxattr {spot.path} {name} {flag}",
                  lambda: os.setxattr(spot.path, name, value, flag, follow_symlinks=False))
        if wanted == 0:
            spot.node.xattrs[name] = value

    def do_xattr_remove(self):
        spot, name = self.pick(), self.random.choice(("user.a", "user.b"))
        wanted = self.model.predict_xattr(spot, name, True)
        self.call(wanted, f"removexattr {spot.path} {name}",
                  lambda: os.removexattr(spot.path, name, follow_symlinks=False))
        if wanted == 0:
            del spot.node.xattrs[name]

    def do_chmod(self):
        spot, mode = self.pick(), self.random.choice((0o700, 0o740, 0o755))
        if spot.node and spot.node.kind == SYMLINK:
            return
        self.call(0 if spot.node else errno.ENOENT, f"chmod {spot.path}", os.chmod, spot.path, mode)
        if spot.node:
            spot.node.mode = mode

    def do_sync(self):
        """fsync() of a folder, syncfs() of all."""
        fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if self.random.random() < 0.5:
                self.call(0, "fsync", os.fsync, fd)
            elif libc.syncfs(fd):
                raise Difference(f"call {self.count}: syncfs: {os.strerror(ctypes.get_errno())}")
        finally:
            os.close(fd)

    # ---- data

    def open_at(self, spot, flags):
        wanted = self.model.predict_write(spot)
        return self.call(wanted, f"open {spot.path}", os.open, spot.path,
                         flags | os.O_NOFOLLOW | os.O_NONBLOCK)

    def do_append(self):
        spot = self.pick()
        fd = self.open_at(spot, os.O_WRONLY | os.O_APPEND)
        if fd is None:
            return
        try:
            self.append(fd, spot.node)
        finally:
            os.close(fd)

    def append(self, fd, node):
        data = self.chunk()
        done = self.call(0, "append", os.write, fd, data)
        if done != len(data):
            raise Difference(f"call {self.count}: short write, {done} of {len(data)}")
        node.data += data
        node.note(self.count, f"append through {fd}")
        if len(node.data) > LARGE:
            size = self.random.randrange(LARGE)
            self.call(0, f"truncate to {size}", os.ftruncate, fd, size)
            node.data = node.data[:size]
            node.note(self.count, f"truncate through {fd}")

    def do_move_data(self):
        """Insert or remove a block: what comes after moves, and must move once."""
        spot = self.pick()
        fd = self.open_at(spot, os.O_RDWR) if spot.node and spot.node.kind == FILE else None
        if fd is None:
            return
        node = spot.node
        try:
            at = self.random.randrange(3) * BLOCK
            if self.random.random() < 0.5:
                wanted = 0 if at < len(node.data) else errno.EINVAL
                self.call(wanted, f"insert {spot.path} {at}", change_range, fd,
                          FALLOC_INSERT_RANGE, at, BLOCK)
                if wanted == 0:
                    node.data = node.data[:at] + bytes(BLOCK) + node.data[at:]
                    node.note(self.count, f"insert at {at} through {fd}")
            else:
                wanted = 0 if at + BLOCK < len(node.data) else errno.EINVAL
                self.call(wanted, f"collapse {spot.path} {at}", change_range, fd,
                          FALLOC_COLLAPSE_RANGE, at, BLOCK)
                if wanted == 0:
                    node.data = node.data[:at] + node.data[at + BLOCK:]
                    node.note(self.count, f"collapse at {at} through {fd}")
        finally:
            os.close(fd)

    # ---- files that stay open, whatever becomes of their names

    def do_hold(self):
        spot = self.pick()
        if len(self.held) == HELD:
            self.release()
        if spot.node and spot.node.kind == FILE:
            self.held.append((self.open_at(spot, os.O_RDWR | os.O_APPEND), spot.node))

    def do_append_held(self):
        if self.held:
            self.append(*self.random.choice(self.held))

    def do_compare_held(self):
        if self.held:
            fd, node = self.random.choice(self.held)
            self.compare_stat(node, self.call(0, "fstat", os.fstat, fd), "an open file")
            self.compare_data(node, self.call(0, "pread", os.pread, fd, 2 * LARGE, 0),
                              f"an open file with {node.links} links")

    def release(self):
        fd, node = self.held.pop(self.random.randrange(len(self.held)))
        self.compare_data(node, self.call(0, "pread", os.pread, fd, 2 * LARGE, 0), "an open file")
        os.close(fd)

    # ---- comparing

    def do_compare(self):
        spot = self.pick()
        if spot.node is None:
            self.call(errno.ENOENT, f"lstat {spot.path}", os.lstat, spot.path)
        else:
            self.compare(spot.node, spot.path)

    def compare(self, node, path):
        """The whole tree below."""
        self.compare_stat(node, self.call(0, f"lstat {path}", os.lstat, path), path)
        if node.kind in (FILE, DIRECTORY):
            found = {name: os.getxattr(path, name) for name in os.listxattr(path)}
            if found != node.xattrs:
                raise Difference(f"call {self.count}: xattrs of {path}: {found}, not {node.xattrs}")
        if node.kind == SYMLINK and os.readlink(path) != node.target:
            raise Difference(f"call {self.count}: {path} points to {os.readlink(path)}")
        if node.kind == FILE:
            with open(path, "rb") as file:
                self.compare_data(node, file.read(), path)
        if node.is_directory():
            found = sorted(os.listdir(path))
            if found != sorted(node.entries):
                raise Difference(f"call {self.count}: {path} has {found}, not "
                                 f"{sorted(node.entries)}")
            for name, child in node.entries.items():
                self.compare(child, f"{path}/{name}")

    def compare_stat(self, node, got, path):
        links = node.links
        if node.ino is None:
            node.ino = got.st_ino
        wanted = (node.kind, node.mode, links, node.ino)
        found = (stat.S_IFMT(got.st_mode), stat.S_IMODE(got.st_mode), got.st_nlink, got.st_ino)
        if found != wanted:
            raise Difference(f"call {self.count}: {path} has (kind, mode, links, inode) {found}, "
                             f"not {wanted}")
        if node.kind == FILE and got.st_size != len(node.data):
            raise Difference(f"call {self.count}: {path} has {got.st_size} bytes, not "
                             f"{len(node.data)}; before: {node.history}")

    def compare_data(self, node, data, path):
        if data != node.data:
            at = next((i for i, (a, b) in enumerate(zip(data, node.data)) if a != b),
                      min(len(data), len(node.data)))
            raise Difference(f"call {self.count}: {path} differs at byte {at}: {data[at:at + 40]} "
                             f"of {len(data)}, not {node.data[at:at + 40]} of {len(node.data)}")
