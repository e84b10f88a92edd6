# SPDX-License-Identifier: BSD-3-Clause
"""daxfuse watch: whatever is changed, in whichever way, is told of afterwards."""

import mmap
import os
import random
import re
import resource
import shutil
import socket
import stat
import subprocess
import threading
import time

import pytest

from restart.mount import RestartPool
from support import syscalls
from support.direct import MIB, PAGE, PROTECT, WRITE, Program
from support.pool import Pool
from support.watch import Watch, covers

ROOT_INO = 3
DATA, SIZE, ATTR, NAMES = "data", "size", "attr", "names"


@pytest.fixture
def make_pool(request, bin_dir, huge_dir):
    pools = []

    def make(size=128 * MIB, *options, kind=Pool):
        name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40]
        pool = kind(bin_dir, huge_dir / f"watch-{len(pools)}-{name}", size=size)
        pools.append(pool)
        (pool.serve if kind is RestartPool else pool.mount)("dax=always", *options)
        return pool

    yield make
    for pool in pools:
        try:
            (pool.finish if isinstance(pool, RestartPool) else pool.close)()
        finally:
            pool.abandon()
            shutil.rmtree(pool.folder)


@pytest.fixture
def pool(make_pool):
    return make_pool()


def ino(path):
    return os.lstat(path).st_ino


def is_all(event):
    return event["what"] == ["all"]


# ---- every way to change something


def opened(flags, function):
    """An action on the open file."""
    def act(at):
        fd = os.open(at / "f", flags)
        try:
            function(fd)
        finally:
            os.close(fd)
    return act


def store_through_the_cache(fd):
    with mmap.mmap(fd, 8192) as mapping:
        mapping[5000] = 1
        mapping.flush()


def bind(at):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(at / "new"))


# Each: what is done; then of which inodes that were there before ("" is the folder), or are new,
# what must be told, and of which range.
RDWR, HALF = os.O_RDWR, 1 << 19
WAYS = {
    "write": (opened(RDWR, lambda fd: os.pwrite(fd, b"x" * 10, 5000)), [("f", DATA, 5000, 10)]),
    "extend": (opened(RDWR, lambda fd: os.pwrite(fd, b"x", 3 * MIB)),
               [("f", DATA, 3 * MIB, 1), ("f", SIZE)]),
    "append": (opened(os.O_WRONLY | os.O_APPEND, lambda fd: os.write(fd, b"xyz")),
               [("f", DATA, MIB, 3), ("f", SIZE)]),
    "store": (opened(RDWR, store_through_the_cache), [("f", DATA, 5000, 1)]),
    "truncate": (lambda at: os.truncate(at / "f", 100), [("f", SIZE, 100, MIB)]),
    "open-trunc": (opened(RDWR | os.O_TRUNC, os.fstat), [("f", SIZE, 0, MIB)]),
    "grow": (lambda at: os.truncate(at / "f", 2 * MIB), [("f", SIZE)]),
    "allocate": (opened(RDWR, lambda fd: os.posix_fallocate(fd, MIB, MIB)), [("f", SIZE)]),
    "punch": (opened(RDWR, lambda fd: syscalls.fallocate(
        fd, syscalls.FALLOC_PUNCH_HOLE | syscalls.FALLOC_KEEP_SIZE, 8192, 4096)),
        [("f", DATA, 8192, 4096)]),
    "zero": (opened(RDWR, lambda fd: syscalls.fallocate(fd, syscalls.FALLOC_ZERO_RANGE, 100, 50)),
             [("f", DATA, 100, 50)]),
    "collapse": (opened(RDWR, lambda fd: syscalls.change_range(
        fd, syscalls.FALLOC_COLLAPSE_RANGE, 0, 4096)), [("f", DATA, 0, MIB), ("f", SIZE)]),
    "copy": (opened(RDWR, lambda fd: os.copy_file_range(fd, fd, 4096, 0, HALF)),
             [("f", DATA, HALF, 4096)]),
    "mode": (lambda at: os.chmod(at / "f", 0o600), [("f", ATTR)]),
    "owner": (lambda at: os.chown(at / "f", 5, 6), [("f", ATTR)]),
    "times": (lambda at: os.utime(at / "f", (1, 2)), [("f", ATTR)]),
    "setxattr": (lambda at: os.setxattr(at / "f", "user.a", b"1"), [("f", ATTR)]),
    "removexattr": (lambda at: os.removexattr(at / "f", "user.there"), [("f", ATTR)]),
    "flags": (lambda at: syscalls.set_flags(at / "f", syscalls.FS_NODUMP_FL), [("f", ATTR)]),
    "xflags": (lambda at: syscalls.set_xflags(at / "f", syscalls.XFLAG_NODUMP), [("f", ATTR)]),
    "create": (lambda at: (at / "new").touch(), [("", NAMES), ("", ATTR), ("new", ATTR)]),
    "mkdir": (lambda at: (at / "new").mkdir(), [("", NAMES), ("", ATTR), ("new", ATTR)]),
    "fifo": (lambda at: os.mkfifo(at / "new"), [("", NAMES), ("new", ATTR)]),
    "socket": (bind, [("", NAMES), ("new", ATTR)]),
    "symlink": (lambda at: (at / "new").symlink_to("f"), [("", NAMES), ("new", ATTR)]),
    "link": (lambda at: os.link(at / "f", at / "new"), [("", NAMES), ("f", ATTR)]),
    "unlink": (lambda at: (at / "f").unlink(), [("", NAMES), ("", ATTR), ("f", ATTR)]),
    "rmdir": (lambda at: (at / "empty").rmdir(), [("", NAMES), ("", ATTR)]),
    "rename": (lambda at: (at / "f").rename(at / "d" / "n"),
               [("", NAMES), ("d", NAMES), ("f", ATTR)]),
    "replace": (lambda at: (at / "f").rename(at / "g"), [("", NAMES), ("f", ATTR), ("g", ATTR)]),
    "exchange": (lambda at: syscalls.renameat2(at / "f", at / "d", syscalls.RENAME_EXCHANGE),
                 [("", NAMES), ("f", ATTR), ("d", ATTR)]),
}


@pytest.fixture(scope="module")
def all_ways(bin_dir, huge_dir):
    """Each way, in a folder of its own: {way: (inodes before and after, events)}."""
    with Pool(bin_dir, huge_dir / "watch-ways") as pool:
        pool.mount("dax=always")
        return {way: one_way(bin_dir, pool.point / way, act) for way, (act, _) in WAYS.items()}


def one_way(bin_dir, folder, act):
    for path in (folder, folder / "d", folder / "empty"):
        path.mkdir()
    (folder / "f").write_bytes(b"0" * MIB)
    (folder / "g").write_bytes(b"g")
    os.link(folder / "g", folder / "d" / "g")
    os.setxattr(folder / "f", "user.there", b"1")
    names = {"": ino(folder), **{path.name: ino(path) for path in folder.iterdir()}}
    with Watch(bin_dir, folder) as watch:
        assert is_all(watch.first) and watch.first["generation"] == 0
        act(folder)
        events = watch.finish()
    if (folder / "new").exists() or (folder / "new").is_symlink():
        names["new"] = ino(folder / "new")
    return names, events


@pytest.mark.parametrize("way", WAYS)
def test_ways(way, all_ways):
    names, events = all_ways[way]
    for name, what, *span in WAYS[way][1]:
        assert any(covers(event, names[name], *span, what=what) for event in events), (name, events)
    assert not any(is_all(event) for event in events)
    # and nothing of what has nothing to do with it
    touched = {names[name] for name, *_ in WAYS[way][1]}
    assert {event["ino"] for event in events} <= touched | {names["empty"]}, events


def test_readers_change_nothing(bin_dir, pool):
    (pool.point / "d").mkdir()
    (pool.point / "f").write_bytes(b"x" * MIB)
    with Watch(bin_dir, pool.point) as watch:
        assert (pool.point / "f").read_bytes() and os.listdir(pool.point / "d") == []
        os.lstat(pool.point / "f"), os.statvfs(pool.point)
        assert watch.finish() == []


# ---- the lines


def test_paths(bin_dir, pool):
    (pool.point / "d").mkdir()
    path = pool.point / "d" / "a \"name\"\n"
    with Watch(bin_dir, pool.point) as watch:
        path.write_bytes(b"x")
        number = ino(path)
        event = watch.until(lambda event: covers(event, number, 0, 1))[-1]
        assert event["path"] == str(path) and event["inode_generation"] > 0
        path.rename(pool.point / "there")
        event = watch.until(lambda event: covers(event, number, what=ATTR))[-1]
        assert event["path"] == str(pool.point / "there")
        (pool.point / "there").unlink()
        assert "path" not in watch.until(lambda event: event["ino"] == number)[-1]
        for name in (b"\xff", b"\xc3", b"\xed\xa0\x80", "\u00e9\U0001f600".encode()):
            (pool.point / os.fsdecode(name)).touch()
            number = ino(pool.point / os.fsdecode(name))
            event = watch.until(lambda event: event["ino"] == number)[-1]
            assert os.fsencode(event.get("path", "")).endswith(name) == (len(name) > 3)
    with Watch(bin_dir, pool.point, "--numbers") as watch:
        (pool.point / "new").touch()
        assert all("path" not in event for event in watch.finish())
    with Watch(bin_dir, pool.point) as watch:
        os.utime(pool.point)
        assert watch.finish()[0]["path"] == str(pool.point)


def test_numbers_used_again(bin_dir, pool):
    """The same inode number is another inode: the generation says so."""
    seen = set()
    with Watch(bin_dir, pool.point) as watch:
        for _ in range(20):
            (pool.point / "f").write_bytes(b"x")
            number = ino(pool.point / "f")
            event = watch.until(lambda event: covers(event, number, 0, 1))[-1]
            assert (number, event["inode_generation"]) not in seen
            seen.add((number, event["inode_generation"]))
            (pool.point / "f").unlink()


def test_once_and_for_people(tool, pool):
    def write():
        time.sleep(0.3)
        (pool.point / "f").write_bytes(b"x" * 5000)

    writer = threading.Thread(target=write)
    writer.start()
    shown = tool("daxfuse", "watch", "--once", "-u", "--interval", "2000", pool.point).stdout
    writer.join()
    assert re.search(rf"data.*{pool.point}/f  0 \+ 4.9 KiB\n", shown) and "{" not in shown


def test_reader_has_gone(bin_dir, pool):
    """It ends, even if nothing is to be said any more."""
    with Watch(bin_dir, pool.point) as watch:
        watch.process.stdout.close()
        watch.process.wait(30)


def test_of_a_file(bin_dir, pool):
    """Where there is no room for a new inode, a file that is there does."""
    file = pool.point / "f"
    with open(file, "wb") as filler:
        with pytest.raises(OSError):
            while True:
                filler.write(bytes(MIB))
                filler.flush()
    with Watch(bin_dir, file) as watch:
        os.chmod(pool.point, 0o700)
        assert covers(watch.next(), ROOT_INO, what=ATTR)
    assert stat.S_ISREG(os.stat(file).st_mode)


@pytest.mark.parametrize("place", ["/tmp", "/etc/passwd", "/no/such/place"])
def test_not_ours(tool, place):
    done = tool("daxfuse", "watch", place, code=1)
    assert done.stdout == "" and f"daxfuse: {place}: cannot be watched" in done.stderr


def test_read_only(tool, pool):
    pool.remount("ro")
    done = tool("daxfuse", "watch", pool.point, code=1)
    assert done.stdout == "" and "nothing changes there" in done.stderr


def test_who_may(bin_dir, pool):
    os.chmod(pool.point, 0o777)
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                           bin_dir / "daxfuse", "watch", pool.point], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == "" and "run as root" in done.stderr


# ---- readers that are too slow


@pytest.mark.parametrize("files", [1000, 4000])
def test_slow_reader(bin_dir, make_pool, files):
    """100,000 writes, each to a range of its own, while nobody reads: no range is missing,
    however wide the events become."""
    writes, length = 100000 // files, 100
    pool = make_pool(256 * MIB)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    fds = [os.open(pool.point / f"f{number}", os.O_RDWR | os.O_CREAT) for number in range(files)]
    inodes = [os.fstat(fd).st_ino for fd in fds]
    order = [(file, at) for at in range(writes) for file in range(files)]
    random.Random(files).shuffle(order)
    with Watch(bin_dir, pool.point, "--numbers") as watch:
        for file, at in order:
            os.pwrite(fds[file], b"x" * length, at * 1000)
        events = watch.finish()
    for fd in fds:
        os.close(fd)
    lost = any(is_all(event) for event in events)
    assert lost == (files == 4000)
    told = {}
    for event in events:
        if not is_all(event):
            told.setdefault(event["ino"], []).append(event)
    for file, at in order:
        assert lost or any(covers(event, inodes[file], at * 1000, length)
                           for event in told[inodes[file]]), (file, at)
    # what is read afterwards is exact again: nothing is stuck
    with Watch(bin_dir, pool.point) as watch:
        (pool.point / "f0").write_bytes(b"x")
        assert covers(watch.next(), inodes[0], what=SIZE)


# ---- stores


class Storer:
    """A program that stores to a file as the protocol has it: what it was asked to protect it
    faults in again first."""

    def __init__(self, program, path):
        self.program = program
        self.file = program.open(path)
        self.ino = ino(path)
        self.faults = 0
        self.writable = {}

    def store(self, page, value):
        while True:
            with self.program.lock:
                asked = [m for m in self.program.asked if m.kind == PROTECT and
                         m.offset <= page * PAGE < m.offset + m.length]
                if self.writable.get(page) == len(asked):
                    self.file.store(page * PAGE, value)
                    return
            pieces = self.file.map(page * PAGE, PAGE, WRITE, pages=1)
            assert pieces[0].flags & 2
            self.faults += 1
            with self.program.lock:
                if len(asked) == len([m for m in self.program.asked if m.kind == PROTECT and
                                      m.offset <= page * PAGE < m.offset + m.length]):
                    self.writable[page] = len(asked)


def test_stores(bin_dir, pool):
    """Each store comes with an event that is read after it; a page that is stored to again and
    again costs one fault a round."""
    path = pool.point / "f"
    path.write_bytes(bytes(2 * MIB))
    rng = random.Random(3)
    with Program(pool.point) as program, Watch(bin_dir, pool.point) as watch:
        storer = Storer(program, path)
        for _ in range(60):
            page = rng.randrange(512)
            for _ in range(100):
                storer.store(page, rng.randbytes(8))
            watch.until(lambda event: covers(event, storer.ino, page * PAGE, PAGE))
        assert 60 <= storer.faults <= 60 * 5
        watch.finish()


def test_stores_between_two_copies(bin_dir, pool):
    """A copy of what events say, made after each, is equal in the end."""
    path, size = pool.point / "f", 64 * PAGE
    path.write_bytes(bytes(size))
    copy, stop = bytearray(size), threading.Event()
    with Program(pool.point) as program, Watch(bin_dir, pool.point) as watch:
        storer = Storer(program, path)

        def work():
            rng = random.Random(8)
            while not stop.is_set():
                storer.store(rng.randrange(64), rng.randbytes(16))

        worker = threading.Thread(target=work)
        worker.start()
        fd = os.open(path, os.O_RDONLY)

        def take(event):
            if covers(event, storer.ino, what=DATA):
                at = event["offset"]
                length = min(event["length"] or size, size - at)
                copy[at:at + length] = os.pread(fd, length, at)

        end = time.monotonic() + 3
        while time.monotonic() < end:
            take(watch.next())
        stop.set()
        worker.join()
        for event in watch.finish():
            take(event)
        assert bytes(copy) == path.read_bytes() != bytes(size)
        os.close(fd)


def test_silent_program(bin_dir, pool):
    """It does not answer: its ranges come in every round, and only the first one waits."""
    path = pool.point / "f"
    path.write_bytes(bytes(64 * PAGE))
    number = ino(path)
    with Program(pool.point, answers=False) as program, Watch(bin_dir, pool.point) as watch:
        file = program.open(path)
        for page in range(0, 64, 2):
            file.map(page * PAGE, PAGE, WRITE, pages=1)
        watch.until(lambda event: covers(event, number, 62 * PAGE, PAGE))
        begin, rounds = time.monotonic(), set()
        while len(rounds) < 20:
            event = watch.next()
            assert covers(event, number)
            rounds.add(event["generation"])
        assert max(rounds) - min(rounds) == 19
        assert time.monotonic() - begin < 120  # a second for each page would be 640
        file.close()
        watch.finish()
    with Watch(bin_dir, pool.point) as watch:
        assert watch.finish() == []


def test_pinned(bin_dir, pool):
    """Long-term: nobody can be asked."""
    path = pool.point / "f"
    path.write_bytes(bytes(2 * MIB))
    with Program(pool.point) as program, Watch(bin_dir, pool.point) as watch:
        file = program.open(path)
        file.pin(MIB, PAGE)
        for _ in range(5):
            event = watch.until(lambda event: covers(event, ino(path), MIB, PAGE))[-1]
            watch.until(lambda later: later["generation"] > event["generation"])
        file.unpin(MIB, PAGE)
        file.close()
        watch.finish()
    with Watch(bin_dir, pool.point) as watch:
        assert watch.finish() == []


def test_unmodified_program(bin_dir, pool):
    """Under `daxfuse run`: what it stores through mmap() is told of, round after round."""
    path = pool.point / "f"
    path.write_bytes(bytes(4 * MIB))
    script = """
import mmap, sys
with open(sys.argv[1], "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
    for line in sys.stdin:
        at = int(line)
        mapping[at] = (mapping[at] + 1) % 256
        print(at, flush=True)
"""
    program = subprocess.Popen([bin_dir / "daxfuse", "run", "--", "python3", "-c", script, path],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    expected = bytearray(4 * MIB)
    with Watch(bin_dir, pool.point) as watch:
        for at in (0, 5, 3 * MIB, 0, MIB, 0, 4 * MIB - 1):
            program.stdin.write(f"{at}\n")
            program.stdin.flush()
            assert program.stdout.readline() == f"{at}\n"
            expected[at] += 1
            watch.until(lambda event: covers(event, ino(path), at, 1))
            assert path.read_bytes() == expected
        program.stdin.close()
        assert program.wait(60) == 0
        program.stdout.close()


# ---- daemons that die


def test_killed(bin_dir, make_pool):
    """After each death "all" comes again, and from then on every change."""
    pool = make_pool(kind=RestartPool)
    with Watch(bin_dir, pool.point) as watch:
        for number in range(5):
            path = pool.point / f"f{number}"
            path.write_bytes(b"x")
            watch.until(lambda event: covers(event, ino(path), 0, 1))
            pool.kill_serving()
            assert is_all(watch.until(is_all)[-1])
            path.write_bytes(b"yy")
            watch.until(lambda event: not is_all(event) and covers(event, ino(path), 0, 2))
        watch.finish()


def test_killed_while_writing(bin_dir, make_pool):
    """A copy that is made as events say is equal in the end, whatever was under way."""
    pool = make_pool(kind=RestartPool)
    paths = [pool.point / f"f{number}" for number in range(20)]
    for path in paths:
        path.write_bytes(bytes(1000))
    of_ino = {ino(path): path for path in paths}
    stop, copies = threading.Event(), {}

    def write():
        rng = random.Random(2)
        while not stop.is_set():
            with open(rng.choice(paths), "r+b") as file:
                file.seek(rng.randrange(900))
                file.write(rng.randbytes(100))

    def take(event):
        for path in paths if is_all(event) else filter(None, [of_ino.get(event["ino"])]):
            copies[path] = path.read_bytes()

    with Watch(bin_dir, pool.point) as watch:
        take(watch.first)
        writer = threading.Thread(target=write)
        writer.start()
        for _ in range(4):
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                take(watch.next())
            pool.kill_serving()
        stop.set()
        writer.join()
        for event in watch.finish():
            take(event)
    assert copies == {path: path.read_bytes() for path in paths}
