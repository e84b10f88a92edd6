# SPDX-License-Identifier: BSD-3-Clause
"""contrib/replicate: whatever programs do to a pool, and whoever dies, its replica is equal."""

import contextlib
import importlib.machinery
import importlib.util
import json
import mmap
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from restart.mount import RestartPool
from support import syscalls
from support.direct import MIB, PAGE
from support.process import Child

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 120


class Replicate:
    """The script, from a pool to another one."""

    def __init__(self, bin_dir, source, target):
        self.process = subprocess.Popen(
            [sys.executable, ROOT / "contrib" / "replicate", "--verify", "--daxfuse",
             bin_dir / "daxfuse", source, target], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True)
        while not (target / ".replicate").exists():
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.005)

    def finish(self):
        """Its report; both are equal."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=LIMIT)
        assert self.process.returncode in (0, 1) and out, err
        report = json.loads(out)
        assert report["differences"] == [] and self.process.returncode == 0, report
        return report


@pytest.fixture
def pools(request, bin_dir, huge_dir):
    """Source and target, mounted."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40]
    made = [RestartPool(bin_dir, huge_dir / f"{which}-{name}", size=256 * MIB)
            for which in ("source", "target")]
    for pool in made:
        pool.serve("dax=always")
    yield made
    for pool in made:
        try:
            pool.finish()
        finally:
            pool.abandon()
            shutil.rmtree(pool.folder)


@pytest.fixture
def points(pools):
    return [pool.point for pool in pools]


@pytest.fixture
def replicate(bin_dir, points):
    script = Replicate(bin_dir, *points)
    yield script
    if script.process.poll() is None:
        script.process.kill()
        script.process.communicate()


def eventually_equal(a, b, what=lambda path: path.read_bytes()):
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if what(a) == what(b):
                return
        time.sleep(0.01)
    assert what(a) == what(b)


def make_tree(top):
    """One of each kind."""
    top.mkdir()
    (top / "d" / "e").mkdir(parents=True)
    (top / "file").write_bytes(random.Random(1).randbytes(3 * MIB + 77))
    (top / "empty").touch()
    os.link(top / "file", top / "d" / "e" / "other name")
    with open(top / "sparse", "wb") as file:
        file.seek(50 * MIB)
        file.write(b"x" * 5000)
        file.truncate(60 * MIB)
    os.symlink("/no/where", top / "link")
    os.mkfifo(top / "fifo", 0o640)
    os.mknod(top / "device", 0o20600, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(top / "socket"))
    os.setxattr(top / "file", "user.a", b"1" * 1000)
    os.setxattr(top / "link", "trusted.a", b"2", follow_symlinks=False)
    os.setxattr(top / "d", "system.posix_acl_default", bytes.fromhex(
        "02000000" "01000700ffffffff" "0200060005000000" "04000500ffffffff" "10000700ffffffff"
        "20000000ffffffff"))
    os.chown(top / "file", 5, 6)
    os.chmod(top / "file", 0o6755)
    os.utime(top / "d" / "e", ns=(5, 123456789012345678))


def test_copies_what_is_there(bin_dir, points):
    make_tree(points[0] / "tree")
    Replicate(bin_dir, *points).finish()
    sparse = os.stat(points[1] / "tree" / "sparse")
    assert sparse.st_blocks * 512 < MIB and sparse.st_size == 60 * MIB


def drop_caches():
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("2\n")


def test_caches_are_dropped_meanwhile(points, replicate):
    """It opens what has changed by handle: inodes that the kernel has forgotten, too."""
    source, target = points
    make_tree(source / "tree")
    eventually_equal(source / "tree" / "file", target / "tree" / "file")
    for i in range(5):
        replicate.process.send_signal(signal.SIGSTOP)
        with open(source / "tree" / "file", "r+b") as file:
            file.write(bytes([i + 1]) * 1000)
        os.chmod(source / "tree" / "fifo", 0o600 + i)
        os.mknod(source / "tree" / f"pipe{i}", 0o10600)
        os.symlink(f"to {i}", source / "tree" / f"link{i}")
        (source / "tree" / f"file{i}").write_bytes(b"x" * i * 3000)
        drop_caches()
        replicate.process.send_signal(signal.SIGCONT)
        eventually_equal(source / "tree" / "file", target / "tree" / "file")
    replicate.finish()


def test_keeps_in_step(points, replicate):
    """Not only in the end: while it runs."""
    source, target = points
    make_tree(source / "tree")
    eventually_equal(source / "tree" / "file", target / "tree" / "file")
    (source / "big").write_bytes(random.Random(2).randbytes(32 * MIB))
    eventually_equal(source / "big", target / "big")
    write_here_and_there(source / "big")
    eventually_equal(source / "big", target / "big")
    (source / "big").rename(source / "tree" / "renamed")
    eventually_equal(source, target, lambda point: sorted(os.listdir(point / "tree")))
    assert os.stat(target / "tree" / "renamed").st_size == 32 * MIB
    replicate.finish()


def write_here_and_there(path):
    """100 bytes, eight times."""
    with open(path, "r+b") as file:
        for at in range(0, 32 * MIB, 4 * MIB):
            file.seek(at)
            file.write(b"y" * 100)


def test_copies_what_was_written(bin_dir, points):
    """Of a large file, and no more. It is there before: what is copied while it is being written is
    copied again, as often as the machine's load has it."""
    source, target = points
    (source / "big").write_bytes(random.Random(2).randbytes(32 * MIB))
    replicate = Replicate(bin_dir, source, target)
    eventually_equal(source / "big", target / "big")
    write_here_and_there(source / "big")
    eventually_equal(source / "big", target / "big")
    (source / "big").rename(source / "renamed")
    eventually_equal(source, target, lambda point: "renamed" in os.listdir(point))
    report = replicate.finish()
    assert 32 * MIB <= report["bytes"] < 32 * MIB + 100 * 1000


def test_names(points, replicate):
    """Moves that a replica could trip over."""
    source, target = points
    for name in ("a", "b"):
        (source / name / "below").mkdir(parents=True)
        (source / name / "below" / "file").write_text(name)
    eventually_equal(source / "b/below/file", target / "b/below/file")
    kept = {name: os.stat(target / name / "below" / "file").st_ino for name in ("a", "b")}
    # a folder below one that was below it
    (source / "a" / "below").rename(source / "below")
    (source / "a").rename(source / "below" / "a")
    (source / "a").mkdir()
    syscalls.renameat2(source / "a", source / "b", syscalls.RENAME_EXCHANGE)
    # one name, three files
    (source / "x").write_text("1")
    (source / "x").rename(source / "y")
    (source / "x").write_text("2")
    os.link(source / "x", source / "z")
    (source / "x").unlink()
    (source / "x").write_text("3")
    # a file where a folder was, and the other way round
    (source / "f").write_text("f")
    (source / "d").mkdir()
    eventually_equal(source, target, lambda point: (point / "f").read_text())
    (source / "f").unlink(), (source / "d").rmdir()
    (source / "f").mkdir(), (source / "d").write_text("d")
    eventually_equal(source, target, lambda point: (point / "d").read_text())
    assert os.stat(target / "below" / "file").st_ino == kept["a"]  # moved, not copied
    assert os.stat(target / "a" / "below" / "file").st_ino == kept["b"]
    replicate.finish()


def test_target_must_be_empty(bin_dir, points):
    (points[1] / "something").touch()
    done = subprocess.run([sys.executable, ROOT / "contrib" / "replicate", "--daxfuse",
                           bin_dir / "daxfuse", *points], capture_output=True, text=True)
    assert done.returncode == 1 and "is not empty" in done.stderr


# ---- random work


class Work:
    """Random operations below one folder; the worker of a process."""

    def __init__(self, top, number):
        self.top, self.number, self.rng = top, number, random.Random(number)
        self.count = 0

    def folder(self):
        folders = [folder for folder, _, _ in os.walk(self.top)]
        return Path(self.rng.choice(folders))

    def some(self, kind=os.path.lexists):
        """A path that is there, or nearly so."""
        folder = self.folder()
        paths = [folder / name for name in sorted(os.listdir(folder)) if kind(folder / name)]
        return self.rng.choice(paths) if paths else folder / "nothing"

    def new(self):
        self.count += 1
        return self.folder() / f"n{self.count}"

    def write(self):
        with open(self.some(os.path.isfile), "r+b") as file:
            for _ in range(self.rng.randrange(1, 4)):
                file.seek(self.rng.choice((0, 100, 5000, MIB, 3 * MIB)))
                file.write(self.rng.randbytes(self.rng.randrange(1, 20000)))

    def make(self):
        self.new().write_bytes(self.rng.randbytes(self.rng.randrange(30000)))

    def truncate(self):
        os.truncate(self.some(os.path.isfile), self.rng.choice((0, 3, 4096, 70000, 2 * MIB)))

    def punch(self):
        with open(self.some(os.path.isfile), "r+b") as file:
            syscalls.fallocate(file.fileno(), syscalls.FALLOC_PUNCH_HOLE |
                               syscalls.FALLOC_KEEP_SIZE, self.rng.randrange(50000), 30000)

    def collapse(self):
        with open(self.some(os.path.isfile), "r+b") as file:
            syscalls.change_range(file.fileno(), self.rng.choice(
                (syscalls.FALLOC_COLLAPSE_RANGE, syscalls.FALLOC_INSERT_RANGE)), 0, 4096)

    def attributes(self):
        path = self.some()
        os.chown(path, self.rng.randrange(9), 0, follow_symlinks=False)
        os.chmod(path, self.rng.choice((0o600, 0o644, 0o755)))
        os.setxattr(path, f"user.{self.rng.randrange(3)}", self.rng.randbytes(20))

    def no_xattr(self):
        path = self.some()
        os.removexattr(path, os.listxattr(path)[0] if os.listxattr(path) else "user.none")

    def mkdir(self):
        self.new().mkdir()

    def link(self):
        os.link(self.some(os.path.isfile), self.new(), follow_symlinks=False)

    def symlink(self):
        os.symlink("x" * self.rng.randrange(1, 100), self.new())

    def rename(self):
        os.rename(self.some(), self.rng.choice((self.new, self.some))())

    def exchange(self):
        syscalls.renameat2(self.some(), self.some(), syscalls.RENAME_EXCHANGE)

    def unlink(self):
        os.unlink(self.some())

    def rmtree(self):
        if self.rng.random() < 0.2 and (folder := self.folder()) != self.top:
            shutil.rmtree(folder)

    def run(self, operations, progress):
        ways = [self.write] * 4 + [self.make] * 3 + [self.rename] * 2 + [
            self.truncate, self.punch, self.collapse, self.attributes, self.no_xattr, self.mkdir,
            self.link, self.symlink, self.exchange, self.unlink, self.rmtree]
        done = 0
        for number in range(operations):
            with contextlib.suppress(OSError):
                self.rng.choice(ways)()
                done += 1
            progress.note(self.number, number + 1)
        return done


class Progress:
    """How far the workers are, seen from other processes."""

    def __init__(self, workers):
        self.workers = workers
        self.memory = mmap.mmap(-1, mmap.PAGESIZE)

    def note(self, worker, count):
        struct.pack_into("q", self.memory, 8 * worker, count)

    def wait_for(self, count):
        """Until each has done so many operations."""
        end = time.monotonic() + LIMIT
        while min(struct.unpack_from(f"{self.workers}q", self.memory)) < count:
            assert time.monotonic() < end
            time.sleep(0.005)


# Until its input ends.
STORES = """
import mmap, random, select, sys
rng = random.Random(7)
with open(sys.argv[1], "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
    while not select.select([sys.stdin], [], [], 0)[0]:
        for _ in range(100):
            at = rng.randrange(len(mapping) - 8)
            mapping[at:at + 8] = rng.randbytes(8)
"""
OPERATIONS = 1500  # of each worker


def work_on(bin_dir, top, act):
    """Two that work on all sorts of files, one that stores to a mapped one; meanwhile act(progress). As
    much is done on any machine, however long that takes."""
    for name in ("one", "two"):
        (top / name).mkdir()
    (top / "mapped").write_bytes(bytes(8 * MIB))
    storer = subprocess.Popen([bin_dir / "daxfuse", "run", "--", sys.executable, "-c", STORES,
                               top / "mapped"], stdin=subprocess.PIPE)
    progress = Progress(2)
    workers = [Child(Work(top / name, number).run, OPERATIONS, progress)
               for number, name in enumerate(("one", "two"))]
    act(progress)
    assert all(worker.result() > 100 for worker in workers)
    storer.stdin.close()
    assert storer.wait(LIMIT) == 0


def test_random_work(bin_dir, points, replicate):
    work_on(bin_dir, points[0], lambda progress: None)
    assert (points[0] / "mapped").read_bytes().count(0) < 8 * MIB - 1000
    report = replicate.finish()
    assert report["applied"] > 10 and report["events"] > 1000


@pytest.mark.parametrize("victim", [0, 1], ids=["source", "target"])
def test_killed_in_the_middle(bin_dir, pools, points, replicate, victim):
    def act(progress):
        for part in range(1, 4):
            progress.wait_for(OPERATIONS * part // 4)
            pools[victim].kill_serving()

    work_on(bin_dir, points[0], act)
    replicate.finish()


def test_begins_in_the_middle(bin_dir, points):
    """The first copy is made while everything changes."""
    scripts = []

    def act(progress):
        progress.wait_for(OPERATIONS // 3)
        scripts.append(Replicate(bin_dir, *points))

    work_on(bin_dir, points[0], act)
    scripts[0].finish()


def load_script():
    loader = importlib.machinery.SourceFileLoader("replicate", str(ROOT / "contrib" / "replicate"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("replicate", loader))
    loader.exec_module(module)
    return module


def test_attribute_goes_after_it_was_listed(points, monkeypatch):
    """Not an error: the program that removes it runs when it likes."""
    path = points[0] / "file"
    path.touch()
    os.setxattr(path, "user.stays", b"1")
    listed = os.listxattr(path) + ["user.gone"]
    monkeypatch.setattr(os, "listxattr", lambda *args, **options: listed)
    assert load_script().xattrs(path) == {"user.stays": b"1"}


def test_file_of_many_holes(points, replicate):
    """Bytes that have gone are gone in the replica, too."""
    source, target = points
    path = source / "f"
    path.write_bytes(b"x" * MIB)
    eventually_equal(path, target / "f")
    with open(path, "r+b") as file:
        for at in range(0, MIB, 4 * PAGE):
            syscalls.fallocate(file.fileno(), syscalls.FALLOC_PUNCH_HOLE |
                               syscalls.FALLOC_KEEP_SIZE, at + 100, 2 * PAGE)
        file.truncate(MIB // 2)
        file.truncate(MIB)
    eventually_equal(path, target / "f")
    assert os.stat(target / "f").st_blocks <= os.stat(path).st_blocks + 8
    replicate.finish()
