# SPDX-License-Identifier: BSD-3-Clause
"""
Random sequences of operations on a pool and on a folder of the kernel's tmpfs side
by side: the same answers, and the same tree. A seed that failed stays here as a
case; DAXFUSE_SEEDS=N tries N more.
"""

import errno
import os
import random
import shutil
import stat

import pytest

from support.pool import MIB, io_uring_is_on
from support.syscalls import (FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, RENAME_EXCHANGE, RENAME_NOREPLACE,
                              RENAME_WHITEOUT, fallocate, link_fd, renameat2)

POOL_MODES = {"cached": ["dax=never"], "dax": ["dax=always"]}
if io_uring_is_on():
    POOL_MODES["io_uring"] = ["io_uring"]

STEPS = 400
SEEDS = [*range(6), *range(1000, 1000 + int(os.environ.get("DAXFUSE_SEEDS", 0)))]
NAMES = ["a", "b", "c", "d", "long" * 12]
SIZES = [0, 1, 100, 130, 4095, 4096, 5000, 65536, 70_000, 300_000, MIB, 2 * MIB, 2 * MIB + 1, 3 * MIB]


class Side:
    """One of the two trees, and its open files."""

    def __init__(self, root):
        self.root = str(root)
        self.fds = {}

    def path(self, relative):
        return os.path.join(self.root, relative)

    def close(self):
        for fd in self.fds.values():
            os.close(fd)

    # Each operation: takes a random generator in a given state, returns what a program would see.

    def create(self, rng, path, slot):
        flags = os.O_RDWR | os.O_CREAT | rng.choice([0, os.O_EXCL, os.O_TRUNC])
        self._keep(slot, os.open(self.path(path), flags, rng.choice([0o644, 0o600, 0o755])))

    def open(self, rng, path, slot):
        flags = os.O_RDWR | rng.choice([0, os.O_APPEND, os.O_TRUNC, 0, 0])
        self._keep(slot, os.open(self.path(path), flags))

    def tmpfile(self, rng, path, slot):
        self._keep(slot, os.open(os.path.dirname(self.path(path)), os.O_TMPFILE | os.O_RDWR, 0o600))

    def link_open(self, rng, path, slot):
        link_fd(self.fds[slot], self.path(path))

    def close_one(self, rng, path, slot):
        os.close(self.fds.pop(slot))

    def _keep(self, slot, fd):
        if slot in self.fds:
            os.close(self.fds[slot])
        self.fds[slot] = fd

    def write(self, rng, path, slot):
        data = rng.randbytes(rng.choice(SIZES))
        return os.pwrite(self.fds[slot], data, rng.choice(SIZES) + rng.choice([0, 0, 1, 77]))

    def append(self, rng, path, slot):
        os.lseek(self.fds[slot], 0, os.SEEK_END)
        return os.write(self.fds[slot], rng.randbytes(rng.choice(SIZES[:9])))

    def read(self, rng, path, slot):
        offset = rng.choice(SIZES) + rng.choice([0, 1, 77])
        return os.pread(self.fds[slot], rng.choice(SIZES), offset)

    def truncate(self, rng, path, slot):
        os.truncate(self.path(path), rng.choice(SIZES) + rng.choice([0, 0, 1, 50]))

    def ftruncate(self, rng, path, slot):
        os.ftruncate(self.fds[slot], rng.choice(SIZES))

    def allocate(self, rng, path, slot):
        fallocate(self.fds[slot], rng.choice([0, FALLOC_KEEP_SIZE]), rng.choice(SIZES),
                  rng.choice(SIZES))

    def punch(self, rng, path, slot):
        fallocate(self.fds[slot], FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE,
                  rng.choice(SIZES) + rng.choice([0, 33]), rng.choice(SIZES))

    def copy(self, rng, path, slot):
        return os.copy_file_range(self.fds[slot], self.fds[rng.randrange(5)], rng.choice(SIZES),
                                  rng.choice(SIZES), rng.choice(SIZES))

    def fstat(self, rng, path, slot):
        info = os.fstat(self.fds[slot])
        return info.st_size, info.st_nlink, info.st_mode

    def mkdir(self, rng, path, slot):
        os.mkdir(self.path(path), rng.choice([0o755, 0o700]))

    def mknod(self, rng, path, slot):
        os.mknod(self.path(path), rng.choice([stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK]) | 0o644)

    def symlink(self, rng, path, slot):
        os.symlink(rng.choice(NAMES + ["x" * 300, "a/b"]), self.path(path))

    def unlink(self, rng, path, slot):
        os.unlink(self.path(path))

    def rmdir(self, rng, path, slot):
        os.rmdir(self.path(path))

    def link(self, rng, path, slot):
        os.link(self.path(path), self.path(random_path(rng)), follow_symlinks=False)

    def rename(self, rng, path, slot):
        os.rename(self.path(path), self.path(random_path(rng)))

    def rename2(self, rng, path, slot):
        renameat2(self.path(path), self.path(random_path(rng)),
                  rng.choice([RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE, RENAME_WHITEOUT]))

    def chmod(self, rng, path, slot):
        # Never through a symlink that the other tree does not have.
        if not os.path.islink(self.path(path)):
            os.chmod(self.path(path), rng.choice([0o644, 0o600, 0o4755, 0o2755, 0o1777, 0o444]))

    def chown(self, rng, path, slot):
        os.chown(self.path(path), rng.choice([0, 1, 1000]), rng.choice([0, 1, 1000]),
                 follow_symlinks=False)

    def utime(self, rng, path, slot):
        os.utime(self.path(path), ns=(rng.randrange(10 ** 18), rng.randrange(10 ** 18)),
                 follow_symlinks=False)
        return os.lstat(self.path(path)).st_mtime_ns

    def setxattr(self, rng, path, slot):
        value = rng.randbytes(rng.choice([0, 10, 300, 5000]))
        flags = rng.choice([0, 0, os.XATTR_CREATE, os.XATTR_REPLACE])
        os.setxattr(self.path(path), f"trusted.{rng.choice('abc')}", value, flags,
                    follow_symlinks=False)

    def removexattr(self, rng, path, slot):
        os.removexattr(self.path(path), f"trusted.{rng.choice('abc')}", follow_symlinks=False)

    def listdir(self, rng, path, slot):
        return sorted(os.listdir(os.path.dirname(self.path(path))))

    def readlink(self, rng, path, slot):
        return os.readlink(self.path(path))


WEIGHTS = {"create": 8, "open": 6, "write": 12, "read": 6, "append": 5, "rename": 5,
           "rename2": 4, "mkdir": 5, "unlink": 4, "link": 4, "punch": 3, "allocate": 3, "truncate": 4, "ftruncate": 3}
OPERATIONS = [name for name in vars(Side)
              if not name.startswith("_") and name not in ("path", "close")]


def random_path(rng):
    return "/".join(rng.choice(NAMES) for _ in range(rng.choice([1, 1, 2, 2, 3])))


def outcome(side, name, seed, path, slot):
    try:
        return getattr(side, name)(random.Random(seed), path, slot)
    except KeyError:
        return "no such slot"
    except OSError as error:
        return errno.errorcode[error.errno]


def xattrs(path):
    return {name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False) if name.startswith("trusted.")}


def tree(root):
    """Everything about a tree that does not depend on the filesystem."""
    found, groups = {}, {}
    for top, dirs, files in os.walk(root):
        dirs.sort()
        for name in sorted(dirs + files):
            path = os.path.join(top, name)
            relative = os.path.relpath(path, root)
            info = os.lstat(path)
            first = relative
            if not stat.S_ISDIR(info.st_mode):
                first = groups.setdefault(info.st_ino, relative)
            what = [info.st_mode, info.st_nlink, info.st_uid, info.st_gid, first, xattrs(path)]
            if stat.S_ISREG(info.st_mode):
                with open(path, "rb") as file:
                    what += [info.st_size, hash(file.read())]
            if stat.S_ISLNK(info.st_mode):
                what += [os.readlink(path)]
            if stat.S_ISDIR(info.st_mode):
                what[1] = 2 + len([name for name in os.listdir(path)
                                   if stat.S_ISDIR(os.lstat(os.path.join(path, name)).st_mode)])
                assert info.st_nlink == what[1]
            found[relative] = what
    return found


@pytest.fixture
def reference(huge_dir):
    path = huge_dir / "reference"
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("seed", SEEDS)
def test_same_as_tmpfs(mnt, pool, reference, seed):
    rng = random.Random(seed)
    ours, theirs = Side(mnt), Side(reference)
    history = []
    try:
        for step in range(STEPS):
            name = rng.choices(OPERATIONS, [WEIGHTS.get(name, 2) for name in OPERATIONS])[0]
            call = name, rng.randrange(1 << 30), random_path(rng), rng.randrange(5)
            expected, got = outcome(theirs, *call), outcome(ours, *call)
            history.append((call, expected if not isinstance(expected, bytes) else len(expected)))
            assert got == expected, f"step {step}: {call}; before it: {history[-15:]}"
            if step % 100 == 99:
                assert tree(mnt) == tree(reference), f"after step {step}"
    finally:
        ours.close()
        theirs.close()
    expected = tree(reference)
    assert tree(mnt) == expected
    pool.remount()
    assert tree(mnt) == expected
