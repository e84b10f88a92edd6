# SPDX-License-Identifier: BSD-3-Clause
"""
What immutable and append-only files and folders refuse, and what takes suid, sgid and
capabilities away from a file: each operation, on a local filesystem of this machine and on ours;
both answer the same. Ours also while the file is mapped directly.
"""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import shutil
import stat
import struct
import subprocess

import pytest

from support.direct import EAGER, READ, WRITE, Program
from support.pool import MIB
from support.process import USER, run_as
from support.syscalls import (FALLOC_COLLAPSE_RANGE, FALLOC_INSERT_RANGE, FALLOC_KEEP_SIZE,
                              FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, FS_APPEND_FL, FS_IMMUTABLE_FL,
                              RENAME_EXCHANGE, change_range, fallocate, get_flags, libc, renameat2, set_flags)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sets flags and is other users")

POOL_MODES = {"cached": ["dax=never"], "dax": ["dax=always"]}
BLOCK = 4096
SIZE = 5 * BLOCK
NOW, OMIT = (1 << 30) - 1, (1 << 30) - 2
ACL = bytes.fromhex("02000000" "01000600ffffffff" "0200060005000000" "04000400ffffffff"
                    "10000600ffffffff" "20000400ffffffff")
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 7, 0, 0, 0)


@pytest.fixture(scope="module")
def local(huge_dir):
    """A folder on ext4, which users reach."""
    top = huge_dir / "local"
    top.mkdir(mode=0o755)
    image, point = top / "image", top / "mnt"
    with open(image, "wb") as file:
        file.truncate(64 * MIB)
    point.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-I", "256", image], check=True)
    mounted = subprocess.run(["mount", "-o", "loop", image, point], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no ext4 here: {mounted.stderr}")
    yield point
    subprocess.run(["umount", point], check=True)
    shutil.rmtree(top)


def outcome(function, *args):
    """"-", or the name of the error."""
    try:
        function(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "-"


def utimens(path, *times):
    """(seconds, nanoseconds or NOW or OMIT) of both, or none: touch."""
    buffer = (ctypes.c_long * 4)(*[word for time in times for word in time]) if times else None
    if libc.utimensat(-100, os.fsencode(path), buffer, 0) < 0:
        raise OSError(ctypes.get_errno(), "utimensat")


def write_at(fd, offset):
    os.pwrite(fd, b"y" * 10, offset)


def open_as(path, flags):
    os.close(os.open(path, flags))


def copy_to(fd):
    source = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    try:
        os.copy_file_range(source, fd, BLOCK, 3 * BLOCK, 0)
    finally:
        os.close(source)


# ---- the flags

PATHS = {
    "open to read": lambda p: open_as(p, os.O_RDONLY),
    "open to write": lambda p: open_as(p, os.O_WRONLY),
    "open to append": lambda p: open_as(p, os.O_WRONLY | os.O_APPEND),
    "open and truncate": lambda p: open_as(p, os.O_WRONLY | os.O_APPEND | os.O_TRUNC),
    "truncate": lambda p: os.truncate(p, 100),
    "extend": lambda p: os.truncate(p, 2 * SIZE),
    "chmod": lambda p: os.chmod(p, 0o606),
    "chown": lambda p: os.chown(p, 77, 77),
    "chgrp": lambda p: os.chown(p, -1, USER),
    "touch": utimens,
    "touch, said": lambda p: utimens(p, (0, NOW), (0, NOW)),
    "times": lambda p: utimens(p, (5, 5), (6, 6)),
    "access time": lambda p: utimens(p, (5, 5), (0, OMIT)),
    "change time": lambda p: utimens(p, (0, OMIT), (5, 5)),
    "access time now": lambda p: utimens(p, (0, NOW), (0, OMIT)),
    "change time now": lambda p: utimens(p, (0, OMIT), (0, NOW)),
    "one now, one said": lambda p: utimens(p, (0, NOW), (5, 5)),
    "no times": lambda p: utimens(p, (0, OMIT), (0, OMIT)),
    "setxattr": lambda p: os.setxattr(p, "user.a", b"2"),
    "removexattr": lambda p: os.removexattr(p, "user.a"),
    "set an ACL": lambda p: os.setxattr(p, "system.posix_acl_access", ACL),
    "link": lambda p: os.link(p, f"{p}-link"),
    "rename": lambda p: os.rename(p, f"{p}-moved"),
    "exchange": lambda p: renameat2(p, f"{p}-other", RENAME_EXCHANGE),
    "rename over": lambda p: os.rename(f"{p}-other", p),
    "remove": lambda p: os.rmdir(p) if os.path.isdir(p) else os.unlink(p),
}
INSIDE = {
    "make": lambda p: open_as(f"{p}/new", os.O_CREAT | os.O_WRONLY),
    "make a folder": lambda p: os.mkdir(f"{p}/newd"),
    "make a fifo": lambda p: os.mkfifo(f"{p}/newp"),
    "make a symlink": lambda p: os.symlink("x", f"{p}/news"),
    "make without a name": lambda p: open_as(p, os.O_TMPFILE | os.O_WRONLY),
    "link into": lambda p: os.link(f"{p}-file", f"{p}/newl"),
    "move into": lambda p: os.rename(f"{p}-file", f"{p}/newm"),
    "move over": lambda p: os.rename(f"{p}-file", f"{p}/f"),
    "move out": lambda p: os.rename(f"{p}/f", f"{p}-out"),
    "rename inside": lambda p: os.rename(f"{p}/f", f"{p}/g"),
    "unlink inside": lambda p: os.unlink(f"{p}/f"),
    "rmdir inside": lambda p: os.rmdir(f"{p}/d"),
    "write inside": lambda p: open_as(f"{p}/f", os.O_WRONLY),
    "list": os.listdir,
}
# On a descriptor that was opened before, for reading and writing.
DESCRIPTORS = {
    "ftruncate": lambda fd: os.ftruncate(fd, 100),
    "fchmod": lambda fd: os.fchmod(fd, 0o606),
    "fsetxattr": lambda fd: os.setxattr(fd, "user.a", b"2"),
    "allocate": lambda fd: fallocate(fd, 0, 0, 2 * SIZE),
    "reserve": lambda fd: fallocate(fd, FALLOC_KEEP_SIZE, 0, 2 * SIZE),
    "punch": lambda fd: fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, BLOCK),
    "zero": lambda fd: fallocate(fd, FALLOC_ZERO_RANGE, 0, BLOCK),
    "zero, keep": lambda fd: fallocate(fd, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, 0, 2 * SIZE),
    "collapse": lambda fd: shift(fd, FALLOC_COLLAPSE_RANGE),
    "insert": lambda fd: shift(fd, FALLOC_INSERT_RANGE),
}
# ext4 refuses these of a file that is immutable by now, xfs and tmpfs do not, and we don't.
LATE = {
    "write": lambda fd: write_at(fd, 0),
    "write at the end": lambda fd: write_at(fd, SIZE),
    "copy into": copy_to,
}
FLAGS = {"immutable": FS_IMMUTABLE_FL, "append-only": FS_APPEND_FL, "neither": 0}


def shift(fd, mode):
    """fallocate() where the kernel passes it on, our ioctl where not."""
    try:
        fallocate(fd, mode, BLOCK, BLOCK)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        change_range(fd, mode, BLOCK, BLOCK)


def add_flags(path, flags):
    set_flags(path, get_flags(path) | flags)


class Scene:
    """A file and a folder of one owner, each with some beside it, in an empty folder."""

    def __init__(self, top, owner, mapped=False):
        self.top = top / "scene"
        self.top.mkdir()
        for name in ("f", "f-other", "d-file", "d-other-file"):
            (self.top / name).write_bytes(b"x" * SIZE)
        for name in ("d", "d/d", "d-other"):
            (self.top / name).mkdir()
        (self.top / "d/f").write_bytes(b"x" * SIZE)
        for path in (self.top / "f", self.top / "d"):
            os.setxattr(path, "user.a", b"1")
        for path in (self.top, *self.top.rglob("*")):
            os.chown(path, owner, owner)
        self.program = Program(self.top) if mapped else None
        if mapped:
            self.program.open(self.top / "f").map(access=EAGER)

    def close(self):
        if self.program:
            self.program.close()
        protected = FS_IMMUTABLE_FL | FS_APPEND_FL
        for path in self.top.iterdir():
            if path.is_dir() or (path.is_file() and not path.is_symlink()):
                set_flags(path, get_flags(path) & ~protected)
        shutil.rmtree(self.top)


@contextlib.contextmanager
def scene(*args, **kwargs):
    made = Scene(*args, **kwargs)
    try:
        yield made.top
    finally:
        made.close()


def try_path(top, owner, flags, name, operation, user, mapped):
    with scene(top, owner, mapped) as here:
        path = here / name
        add_flags(path, flags)
        return run_as(user, outcome, operation, path) if user else outcome(operation, path)


def try_descriptor(top, owner, flags, operation, user, mapped):
    with scene(top, owner, mapped) as here:
        fd = os.open(here / "f", os.O_RDWR)
        add_flags(here / "f", flags)
        try:
            return run_as(user, outcome, operation, fd) if user else outcome(operation, fd)
        finally:
            os.close(fd)


def all_outcomes(top, flags, user, mapped):
    owner = user or 0
    found = {}
    for name, operation in PATHS.items():
        found["file", name] = try_path(top, owner, flags, "f", operation, user, mapped)
        found["folder", name] = try_path(top, owner, flags, "d", operation, user, mapped)
    for name, operation in INSIDE.items():
        found["folder", name] = try_path(top, owner, flags, "d", operation, user, mapped)
    late = {} if flags == FS_IMMUTABLE_FL else LATE
    for name, operation in {**DESCRIPTORS, **late}.items():
        found["open", name] = try_descriptor(top, owner, flags, operation, user, mapped)
    return found


@pytest.mark.parametrize("user", [None, USER], ids=["root", "owner"])
@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("mapped", [False, True], ids=["", "mapped"])
def test_flags(local, mnt, pool, flag, user, mapped):
    if mapped and "dax=always" not in pool.options:
        pytest.skip("not mapped directly")
    os.chmod(mnt, 0o777)
    os.chmod(local, 0o777)
    expected = all_outcomes(local, FLAGS[flag], user, False)
    found = all_outcomes(mnt, FLAGS[flag], user, mapped)
    assert {key: (found[key], want) for key, want in expected.items() if found[key] != want} == {}


def test_nothing_but_appending(mnt, pool):
    """The kernel does not know the flag: it lets a program drop O_APPEND, and map the file. On a
    local filesystem fcntl() and mmap() are refused; here, what is written then."""
    path = mnt / "f"
    path.write_bytes(b"x" * SIZE)
    add_flags(path, FS_APPEND_FL)
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    try:
        os.write(fd, b"end")
        fcntl.fcntl(fd, fcntl.F_SETFL, 0)
        for attempt in (lambda: write_at(fd, 0), lambda: write_at(fd, SIZE + 3), lambda: copy_to(fd)):
            assert outcome(attempt) == "EPERM"
        with mmap.mmap(fd, BLOCK, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE) as memory:
            memory[:3] = b"new"
            assert outcome(memory.flush) in ("EPERM", "EIO")
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
        os.write(fd, b" of it")
    finally:
        os.close(fd)
        set_flags(path, 0)
    pool.remount()
    assert path.read_bytes() == b"x" * SIZE + b"end of it"


def test_append_only_is_not_mapped_for_stores(mnt, pool):
    if "dax=always" not in pool.options:
        pytest.skip("not mapped directly")
    path = mnt / "f"
    path.write_bytes(b"x" * SIZE)
    with Program(mnt) as program:
        file = program.open(path)
        add_flags(path, FS_APPEND_FL)
        try:
            for access in (WRITE, EAGER):
                assert outcome(lambda: file.map(access=access)) == "EACCES"
            assert outcome(file.pin, 0, BLOCK) == "EACCES"
            assert file.map(access=READ)
        finally:
            set_flags(path, 0)
        assert file.map(access=WRITE)


# ---- suid, sgid, capabilities

CHANGES = {**{name: DESCRIPTORS[name] for name in DESCRIPTORS if name not in ("fchmod", "fsetxattr")},
           **LATE, "fsync": os.fsync, "read": lambda fd: os.pread(fd, 10, 0)}


def change_of_mode(top, mode, owner, group, user, operation, mapped):
    """The mode, and whether the capability is there, after a change by a user."""
    with scene(top, 0, mapped) as here:
        path = here / "f"
        os.chown(path, owner, group)
        os.setxattr(path, "security.capability", CAPABILITY)
        os.chmod(path, mode)
        fd = os.open(path, os.O_RDWR)
        try:
            result = run_as(user, outcome, operation, fd) if user else outcome(operation, fd)
        finally:
            os.close(fd)
        status = os.stat(path)
        return result, oct(stat.S_IMODE(status.st_mode)), os.listxattr(path)


@pytest.mark.parametrize("mode", [0o6777, 0o4666, 0o2775, 0o2666, 0o777], ids=oct)
@pytest.mark.parametrize("user, owner", [(None, 0), (USER, USER), (USER, 0)],
                         ids=["root", "owner", "other"])
@pytest.mark.parametrize("mapped", [False, True], ids=["", "mapped"])
def test_privileged_bits(local, mnt, pool, mode, user, owner, mapped):
    if mapped and "dax=always" not in pool.options:
        pytest.skip("not mapped directly")
    os.chmod(mnt, 0o777)
    os.chmod(local, 0o777)
    expected, found = ({name: change_of_mode(top, mode, owner, owner, user, operation, m)
                        for name, operation in CHANGES.items()}
                       for top, m in ((local, False), (mnt, mapped)))
    assert {name: (found[name], want) for name, want in expected.items() if found[name] != want} == {}


def test_mode_is_known_at_once(mnt):
    """The kernel must not show the old mode, nor the pool after a remount another one."""
    path = mnt / "f"
    for name, operation in CHANGES.items():
        path.write_bytes(b"x" * SIZE)
        os.chown(path, USER, USER)
        os.chmod(path, 0o6777)
        os.stat(path)
        fd = os.open(path, os.O_RDWR)
        run_as(USER, operation, fd)
        expected = 0o6777 if name in ("fsync", "read") else 0o777
        assert stat.S_IMODE(os.stat(path).st_mode) == expected, name
        os.close(fd)


@pytest.mark.parametrize("name", ["punch", "collapse", "truncate"])
def test_what_is_refused_takes_nothing_away(mnt, name):
    path = mnt / "f"
    path.write_bytes(b"x" * SIZE)
    os.chown(path, USER, USER)
    os.chmod(path, 0o6777)
    fd = os.open(path, os.O_RDWR)
    set_flags(path, FS_IMMUTABLE_FL)
    try:
        operation = {"truncate": lambda fd: os.ftruncate(fd, 1), **DESCRIPTORS}[name]
        assert run_as(USER, outcome, operation, fd) == "EPERM"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o6777
    finally:
        set_flags(path, 0)
        os.close(fd)
