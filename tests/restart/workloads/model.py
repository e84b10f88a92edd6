# SPDX-License-Identifier: BSD-3-Clause
"""
A folder as Linux says it must be: what exists, and which error each call must have. One
process owns the folder, so each answer is known before the call.

The errors follow the order of the checks in fs/namei.c; see predict_rename().
"""

import errno
import stat

from support.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE

FILE, DIRECTORY, SYMLINK, FIFO = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO


class Node:
    """An inode."""

    def __init__(self, kind, mode=0o644, target=None):
        self.kind = kind
        self.mode = mode
        self.links = 2 if kind == DIRECTORY else 1
        self.data = b""
        self.xattrs = {}
        self.target = target
        self.entries = {}
        self.ino = None  # as first seen
        self.history = []  # what was done to the data, for messages

    def note(self, count, what):
        self.history = [*self.history[-9:], f"{count}: {what}, {len(self.data)} bytes"]

    def is_directory(self):
        return self.kind == DIRECTORY


class Spot:
    """A place where a name is or might be: `chain` is the folders from the root down."""

    def __init__(self, chain, path, name):
        self.chain = chain
        self.path = path
        self.name = name

    @property
    def folder(self):
        return self.chain[-1]

    @property
    def node(self):
        return self.folder.entries.get(self.name)

    def put(self, node):
        self.folder.entries[self.name] = node
        if node.is_directory():
            self.folder.links += 1

    def take(self):
        node = self.folder.entries.pop(self.name)
        if node.is_directory():
            self.folder.links -= 1
        return node


class Model:
    """The tree, and what calls do to it. predict_... return the errno; 0 is success."""

    NAMES = [f"n{i}" for i in range(8)]
    DEPTH = 4

    def __init__(self, path):
        self.root = Node(DIRECTORY, 0o755)
        self.path = str(path)

    def pick(self, rng):
        """A random spot; about half of them are empty."""
        chain, path = [self.root], self.path
        while len(chain) < self.DEPTH and rng.random() < 0.45:
            below = [name for name, node in chain[-1].entries.items() if node.is_directory()]
            if not below:
                break
            name = rng.choice(below)
            chain.append(chain[-1].entries[name])
            path += "/" + name
        name = rng.choice(self.NAMES)
        return Spot(chain, f"{path}/{name}", name)

    # ---- errors

    @staticmethod
    def predict_new(spot):
        return errno.EEXIST if spot.node else 0

    @staticmethod
    def predict_unlink(spot):
        if not spot.node:
            return errno.ENOENT
        return errno.EISDIR if spot.node.is_directory() else 0

    @staticmethod
    def predict_rmdir(spot):
        if not spot.node:
            return errno.ENOENT
        if not spot.node.is_directory():
            return errno.ENOTDIR
        return errno.ENOTEMPTY if spot.node.entries else 0

    @staticmethod
    def predict_link(old, new):
        if not old.node:
            return errno.ENOENT
        if new.node:
            return errno.EEXIST
        return errno.EPERM if old.node.is_directory() else 0

    @staticmethod
    def predict_rename(old, new, flags):
        source, target = old.node, new.node
        if not source:
            return errno.ENOENT
        if flags == RENAME_NOREPLACE and target:
            return errno.EEXIST
        if flags == RENAME_EXCHANGE and not target:
            return errno.ENOENT
        if source in new.chain:
            return errno.EINVAL
        if target in old.chain:
            return errno.EINVAL if flags == RENAME_EXCHANGE else errno.ENOTEMPTY
        if source is target or not target or flags == RENAME_EXCHANGE:
            return 0
        if not source.is_directory():
            return errno.EISDIR if target.is_directory() else 0
        if not target.is_directory():
            return errno.ENOTDIR
        return errno.ENOTEMPTY if target.entries else 0

    @staticmethod
    def predict_write(spot):
        """open(O_WRONLY | O_NOFOLLOW | O_NONBLOCK)"""
        if not spot.node:
            return errno.ENOENT
        return {FILE: 0, DIRECTORY: errno.EISDIR, SYMLINK: errno.ELOOP,
                FIFO: errno.ENXIO}[spot.node.kind]

    @staticmethod
    def predict_xattr(spot, name, must_be):
        """must_be: whether the attribute has to be there already, or must not be."""
        if not spot.node:
            return errno.ENOENT
        if spot.node.kind not in (FILE, DIRECTORY):
            return errno.EPERM
        if (name in spot.node.xattrs) == must_be:
            return 0
        return errno.ENODATA if must_be else errno.EEXIST

    # ---- changes, of calls that succeeded

    @staticmethod
    def remove(spot):
        node = spot.take()
        node.links = 0 if node.is_directory() else node.links - 1

    @staticmethod
    def link(node, spot):
        spot.put(node)
        node.links += 1

    @classmethod
    def rename(cls, old, new, flags):
        if old.node is new.node:
            return
        if flags == RENAME_EXCHANGE:
            source, target = old.take(), new.take()
            old.put(target)
            new.put(source)
            return
        if new.node:
            cls.remove(new)
        new.put(old.take())
