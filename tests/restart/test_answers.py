# SPDX-License-Identifier: BSD-3-Clause
"""
The serving process is killed when it has executed a request and is about to answer it: each kind
of request, one at a time. What it did is there once, and its answer is the one of the first time.
docs/design/restart.md says why.
"""

import ctypes
import errno
import fcntl
import os
import stat
import struct
import subprocess
import threading
import time

import pytest

from support.direct import EAGER, PAGE, UNIT, Program
from support.pool import MIB
from support.syscalls import (FALLOC_COLLAPSE_RANGE, FALLOC_INSERT_RANGE, FALLOC_KEEP_SIZE,
                              FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, FS_NODUMP_FL, RENAME_EXCHANGE,
                              XFLAG_DAX, change_range, fallocate, get_flags, get_xflags, libc, link_fd,
                              renameat2, set_flags, set_xflags)

from restart.task import kill_quietly

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="traces and kills the daemon")

SIZE = 2 * UNIT + 5 * PAGE
QUOTA_GET, QUOTA_SET = (3 << 30 | 40 << 16 | 0xdf << 8 | 3), (1 << 30 | 40 << 16 | 0xdf << 8 | 4)
SET_LABEL = 1 << 30 | 64 << 16 | 0xdf << 8 | 7
REALIGN = 3 << 30 | 16 << 16 | 0xdf << 8 | 9
WATCH, WATCH_READ = (17 | 0xdf << 8), (2 << 30 | (16 + 256 * 32) << 16 | 0xdf << 8 | 18)


@pytest.fixture
def pool(make_pool):
    pool = make_pool()
    pool.serve("dax=always")
    return pool


class Held:
    """No answer leaves the serving process: when it is killed, what it did is executed, and not
    answered. Or ("delay_exit") it is answered, and the process does not know it yet."""

    def __init__(self, pool, where="delay_enter"):
        self.pool = pool
        self.pid = pool.wait_for_serving()
        self.tracer = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=writev",
             "-e", f"inject=writev:{where}=20000000", "-p", str(self.pid)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not self.is_traced():
            time.sleep(0.001)

    def is_traced(self):
        """All its threads."""
        return all("TracerPid:\t0" not in self.read(f"{self.pid}/task/{task}/status")
                   for task in os.listdir(f"/proc/{self.pid}/task"))

    @staticmethod
    def read(name):
        with open(f"/proc/{name}") as file:
            return file.read()

    def kill(self):
        """Returns when another process serves."""
        kill_quietly(self.pid)
        self.tracer.kill()
        self.tracer.wait(20)
        self.pool.wait_for_serving(dead=[self.pid])


def killed_at_the_answer(pool, call, meanwhile=None, pause=0.15):
    """What the call returns, or the errno it fails with."""
    answer = []

    def run():
        try:
            answer.append(call())
        except OSError as error:
            answer.append(error)

    with pool.limit(60):
        held = Held(pool)
        thread = threading.Thread(target=run)
        thread.start()
        time.sleep(pause)
        assert thread.is_alive(), "it was answered"
        if meanwhile:
            meanwhile()
        held.kill()
        thread.join()
    if isinstance(answer[0], OSError):
        raise answer[0]
    return answer[0]


class Scene:
    """Files that are open and known to the kernel, so that a call is one request."""

    def __init__(self, pool):
        self.top = pool.point / "d"
        self.top.mkdir()
        self.path = self.top / "f"
        self.path.write_bytes(b"x" * SIZE)
        (self.top / "other").write_bytes(b"y" * PAGE)
        (self.top / "sub").mkdir()
        os.setxattr(self.path, "user.old", b"1")
        self.fd = os.open(self.path, os.O_RDWR)
        self.folder = os.open(self.top, os.O_RDONLY)
        self.nameless = os.open(self.top, os.O_TMPFILE | os.O_RDWR)
        for name in ("f", "other", "sub", "new", "f2"):  # also that it is not there
            (self.top / name).exists()
        os.stat(self.path)

    def close(self):
        for fd in (self.fd, self.folder, self.nameless):
            os.close(fd)

    def warm_up(self):
        """The kernel asks once for what a change takes away, and remembers that it is nothing."""
        fallocate(self.fd, FALLOC_KEEP_SIZE, 0, 1)

    def names(self):
        return sorted(os.listdir(self.top))

    def read(self, offset=0, length=SIZE):
        return os.pread(self.fd, length, offset)


@pytest.fixture
def scene(pool):
    scene = Scene(pool)
    yield scene
    scene.close()


# ---- names and attributes

OLD = ["f", "other", "sub"]
NAMES = {
    "mkdir": (lambda s: os.mkdir(s.top / "new"), [*OLD, "new"]),
    "mknod": (lambda s: os.mkfifo(s.top / "new"), [*OLD, "new"]),
    "symlink": (lambda s: os.symlink("to", s.top / "new"), [*OLD, "new"]),
    "create": (lambda s: os.close(os.open(s.top / "new", os.O_CREAT | os.O_EXCL | os.O_WRONLY)),
               [*OLD, "new"]),
    "tmpfile": (lambda s: os.close(os.open(s.top, os.O_TMPFILE | os.O_RDWR)), OLD),
    "link": (lambda s: os.link(s.path, s.top / "new"), [*OLD, "new"]),
    "link of a nameless": (lambda s: link_fd(s.nameless, s.top / "new"), [*OLD, "new"]),
    "unlink": (lambda s: os.unlink(s.top / "other"), ["f", "sub"]),
    "rmdir": (lambda s: os.rmdir(s.top / "sub"), ["f", "other"]),
    "rename": (lambda s: os.rename(s.path, s.top / "new"), ["new", "other", "sub"]),
    "rename over": (lambda s: os.rename(s.path, s.top / "other"), ["other", "sub"]),
    "exchange": (lambda s: renameat2(s.path, s.top / "other", RENAME_EXCHANGE), OLD),
}


@pytest.mark.parametrize("name", NAMES)
def test_names(pool, scene, name):
    call, expected = NAMES[name]
    before = os.stat(scene.path).st_ino
    killed_at_the_answer(pool, lambda: call(scene))
    assert scene.names() == sorted(expected)
    if name == "exchange":
        assert os.stat(scene.top / "other").st_ino == before
    if name == "link":
        assert os.fstat(scene.fd).st_nlink == 2


ATTRIBUTES = {
    "chmod": (lambda s: os.fchmod(s.fd, 0o604),
              lambda s: stat.S_IMODE(os.fstat(s.fd).st_mode) == 0o604),
    "chown": (lambda s: os.fchown(s.fd, 7, 8), lambda s: os.fstat(s.fd)[4:6] == (7, 8)),
    "utime": (lambda s: os.utime(s.fd, (5, 6)), lambda s: os.fstat(s.fd).st_mtime == 6),
    "truncate": (lambda s: os.ftruncate(s.fd, 77), lambda s: s.read() == b"x" * 77),
    "extend": (lambda s: os.ftruncate(s.fd, SIZE + 9), lambda s: s.read(SIZE, 99) == bytes(9)),
    "open, truncating": (lambda s: os.close(os.open(s.path, os.O_RDWR | os.O_TRUNC)),
                         lambda s: s.read() == b""),
    "setxattr": (lambda s: os.setxattr(s.fd, "user.new", b"2", os.XATTR_CREATE),
                 lambda s: os.getxattr(s.fd, "user.new") == b"2"),
    "removexattr": (lambda s: os.removexattr(s.fd, "user.old"), lambda s: os.listxattr(s.fd) == []),
    "set flags": (lambda s: set_flags(s.fd, FS_NODUMP_FL), lambda s: get_flags(s.fd) & FS_NODUMP_FL),
    "set xflags": (lambda s: set_xflags(s.fd, XFLAG_DAX, project=3),
                   lambda s: get_xflags(s.fd).project == 3),
    "set a quota": (lambda s: fcntl.ioctl(s.fd, QUOTA_SET, struct.pack("5Q", 3, 1 << 30, 0, 0, 0)),
                    lambda s: struct.unpack("5Q", fcntl.ioctl(s.fd, QUOTA_GET, struct.pack(
                        "Q32x", 3)))[1] == 1 << 30),
    "set the label": (lambda s: fcntl.ioctl(s.fd, SET_LABEL, b"new".ljust(64, b"\0")),
                      lambda s: True),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes(pool, scene, name):
    call, holds = ATTRIBUTES[name]
    killed_at_the_answer(pool, lambda: call(scene))
    assert holds(scene)


# ---- bytes



DATA = {
    "write": (lambda s: os.pwrite(s.fd, b"new", 5), lambda old: old[:5] + b"new" + old[8:]),
    "append": (lambda s: os.pwrite(s.fd, b"new", SIZE), lambda old: old + b"new"),
    "allocate": (lambda s: fallocate(s.fd, 0, 0, SIZE + 9), lambda old: old + bytes(9)),
    "reserve": (lambda s: fallocate(s.fd, FALLOC_KEEP_SIZE, SIZE, UNIT), lambda old: old),
    "punch": (lambda s: fallocate(s.fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 5, 2 * PAGE),
              lambda old: old[:5] + bytes(2 * PAGE) + old[5 + 2 * PAGE:]),
    "zero": (lambda s: fallocate(s.fd, FALLOC_ZERO_RANGE, 5, PAGE),
             lambda old: old[:5] + bytes(PAGE) + old[5 + PAGE:]),
    "collapse": (lambda s: change_range(s.fd, FALLOC_COLLAPSE_RANGE, PAGE, PAGE),
                 lambda old: old[:PAGE] + old[2 * PAGE:]),
    "insert": (lambda s: change_range(s.fd, FALLOC_INSERT_RANGE, PAGE, PAGE),
               lambda old: old[:PAGE] + bytes(PAGE) + old[PAGE:]),
    "copy": (lambda s: os.copy_file_range(s.fd, s.fd, 3 * PAGE, 0, UNIT),
             lambda old: old[:UNIT] + old[:3 * PAGE] + old[UNIT + 3 * PAGE:]),
    "promote": (lambda s: fcntl.ioctl(s.fd, 1 << 30 | 16 << 16 | 0xdf << 8 | 15,
                                      struct.pack("QQ", 0, SIZE)), lambda old: old),
    "realign": (lambda s: fcntl.ioctl(s.fd, REALIGN, bytes(16)), lambda old: old),
}
RESULTS = {"write": 3, "append": 3, "copy": 3 * PAGE}


@pytest.mark.parametrize("name", DATA)
def test_bytes(pool, scene, name):
    content = os.urandom(SIZE)
    os.pwrite(scene.fd, content, 0)
    scene.warm_up()
    call, change = DATA[name]
    result = killed_at_the_answer(pool, lambda: call(scene))
    assert name not in RESULTS or result == RESULTS[name]
    os.fstat(scene.fd)
    assert scene.read(0, 2 * SIZE) == change(content)


@pytest.mark.parametrize("name", ["write", "punch", "zero", "copy"])
def test_stores_that_came_after(pool, scene, name):
    """A program that maps the file has seen the change, and stored over it, before the answer
    was lost. The change must not be made again."""
    with Program(pool.point, answers=False) as program:
        file = program.open(scene.path)
        file.map(0, 2 * UNIT, access=EAGER)
        places = {"write": 5, "punch": PAGE, "zero": PAGE, "copy": UNIT}
        call, _ = DATA[name]
        expected = {"write": b"new", "copy": b"abc"}.get(name, bytes(3))
        at = places[name]
        os.pwrite(scene.fd, b"abc", 0)
        scene.warm_up()

        def store():
            end = time.monotonic() + 10
            while file.load(at, 3) != expected and time.monotonic() < end:
                time.sleep(0.01)
            assert file.load(at, 3) == expected
            time.sleep(0.1)  # until it is executed as a whole
            file.store(at, b"mine")

        killed_at_the_answer(pool, lambda: call(scene), store, pause=1.5)
        assert file.load(at, 4) == b"mine"
        assert scene.read(at, 4) == b"mine"


# ---- what is read, and what is closed

READS = {
    "read": lambda s: os.pread(s.fd, 3, 0),
    "seek": lambda s: os.lseek(s.fd, 0, os.SEEK_HOLE),
    "list": lambda s: sorted(os.listdir(f"/proc/self/fd/{s.folder}")),
    "statfs": lambda s: os.fstatvfs(s.fd).f_blocks,
    "getxattr": lambda s: os.getxattr(s.fd, "user.old"),
    "listxattr": lambda s: os.listxattr(s.fd),
    "get flags": lambda s: get_flags(s.fd),
    "open": lambda s: os.close(os.open(s.path, os.O_RDWR)),
}


@pytest.mark.parametrize("name", READS)
def test_reads(pool, scene, name):
    before = READS[name](scene)
    assert killed_at_the_answer(pool, lambda: READS[name](scene)) == before


def test_release(pool, scene):
    """Nobody waits for its answer."""
    fd = os.open(scene.path, os.O_RDWR)
    with pool.limit(60):
        held = Held(pool)
        os.close(fd)
        time.sleep(0.1)
        held.kill()
        assert scene.read(0, 3) == b"xxx"
    os.unlink(scene.path)


# ---- mappings and pins

@pytest.fixture
def file(pool, scene):
    with Program(pool.point) as program:
        yield program.open(scene.path)


def error_of(call, *args):
    try:
        call(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
    return None


@pytest.mark.parametrize("there", [0, 1, 2])
def test_pin_is_one_pin(pool, file, there):
    for _ in range(there):
        file.pin(0, UNIT)
    killed_at_the_answer(pool, lambda: ioctl(file.fd, 13, 0, UNIT))
    assert pins_of(file) == there + 1


@pytest.mark.parametrize("there", [1, 2, 3])
def test_unpin_ends_one_pin(pool, file, there):
    for _ in range(there):
        file.pin(0, UNIT)
    killed_at_the_answer(pool, lambda: ioctl(file.fd, 14, 0, UNIT))
    assert pins_of(file) == there - 1


def test_unpin_of_a_part(pool, file):
    file.pin(0, UNIT)
    file.pin(PAGE, PAGE)
    killed_at_the_answer(pool, lambda: ioctl(file.fd, 14, 2 * PAGE, PAGE))
    assert error_of(file.unpin, PAGE, PAGE) is None
    assert pins_of(file) == 1


def libc_ioctl(fd, request, argument):
    """Without the interpreter's lock, which the test needs meanwhile."""
    if libc.ioctl(fd, ctypes.c_ulong(request), argument):
        raise OSError(ctypes.get_errno(), "ioctl")


def ioctl(fd, index, *words):
    libc_ioctl(fd, 1 << 30 | 8 * len(words) << 16 | 0xdf << 8 | index,
               (ctypes.c_uint64 * len(words))(*words))


def pins_of(file):
    count = 0
    while error_of(file.unpin, 0, UNIT) is None:
        count += 1
    return count


def test_pin_that_fails_leaves_none(pool, scene, file):
    """Its file is shorter by the time it is executed again."""
    file.pin(0, UNIT)
    assert error_of(lambda: killed_at_the_answer(
        pool, lambda: ioctl(file.fd, 13, 64 * MIB, UNIT))) == "ENXIO"
    assert pins_of(file) == 1


def test_unmap(pool, file):
    pieces = file.map(access=EAGER)
    file.drop()
    killed_at_the_answer(pool, lambda: ioctl(file.fd, 12, 0, UNIT, pieces[-1].grant + 512))
    file.program.connect(file.program.session)
    assert file.map(access=EAGER)


def test_watch(pool, scene):
    """A watcher that has missed something is told so."""
    fcntl.ioctl(scene.fd, WATCH)
    scene.path.write_bytes(b"changed")
    assert error_of(lambda: killed_at_the_answer(
        pool, lambda: libc_ioctl(scene.fd, WATCH_READ, ctypes.create_string_buffer(
            16 + 256 * 32)))) == "ENODEV"
    killed_at_the_answer(pool, lambda: libc_ioctl(scene.fd, WATCH, None))
    assert error_of(lambda: fcntl.ioctl(scene.fd, WATCH)) == "EBUSY"
