# SPDX-License-Identifier: BSD-3-Clause
"""
Programs that let nothing go delay those that must wait for them, by a second; nobody else. The
order of events is looked at, and not how long they take.
"""

import contextlib
import os
import signal

import pytest

from support.direct import WRITE, Program, error_of
from support.pagecache import is_cached
from support.pool import MIB
from support.process import Child, eventually, opened
from support.syscalls import FALLOC_INSERT_RANGE, change_range

from direct.test_mapping import make, status

PROGRAMS = 12
THREADS = "max_threads=2"


class Busy:
    """function(*args) in processes; has_ended() says of how many."""

    def __init__(self):
        self.children = []

    def start(self, function, *args):
        self.children.append(Child(function, *args))

    def ended(self):
        # WNOWAIT: result() reaps
        return sum(os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
                   for child in self.children)

    def finish(self):
        return [child.result() for child in self.children]


def use(pool, number):
    """All sorts of requests, about nothing that others use."""
    folder = pool.point / f"unrelated{number}"
    folder.mkdir()
    (folder / "f").write_bytes(b"x" * 50_000)
    assert (folder / "f").read_bytes() == b"x" * 50_000
    os.truncate(folder / "f", 10)
    os.rename(folder / "f", folder / "g")
    assert os.listdir(folder) == ["g"] and os.statvfs(folder).f_bfree


@contextlib.contextmanager
def mute_programs(pool, count):
    """[(program, path)]: each has a file of its own mapped, and lets nothing go."""
    made = []
    try:
        for number in range(count):
            path = make(pool.point / f"f{number}", 2 * MIB)
            program = Program(pool.point, answers=False)
            program.open(path).map()
            made.append((program, path))
        yield made
    finally:
        for program, _ in made:
            program.close()


@pytest.mark.parametrize("options", [[], ["keeper=none"]], ids=["keeper", "none"])
def test_many_are_waited_for_and_others_go_on(make_pool, options):
    """With fewer threads than there are programs that are waited for."""
    pool = make_pool(256 * MIB, THREADS, *options)
    with mute_programs(pool, PROGRAMS) as programs:
        busy = Busy()
        for _, path in programs:
            busy.start(os.truncate, path, 0)
        assert eventually(lambda: all(program.asked for program, _ in programs), True)
        use(pool, 1)
        assert busy.ended() == 0, "they are waited for, and nobody waits for them"
        busy.finish()
        assert status(pool)["counters"]["waited"] == PROGRAMS


def test_those_behind_hold_up_nobody(make_pool):
    """A program that uses a file which is about to change waits for the other one, too."""
    pool = make_pool(256 * MIB, THREADS)
    with mute_programs(pool, 1) as ((program, path),):
        busy = Busy()
        busy.start(os.truncate, path, 0)
        assert eventually(lambda: bool(program.asked), True)
        for number in range(PROGRAMS):
            busy.start(map_it, pool, path)
        use(pool, 1)
        assert busy.ended() == 0
        busy.finish()


def map_it(pool, path):
    """As faults of its own are: the kernel does not keep them from each other."""
    with Program(pool.point) as program:
        file = program.open(path)
        assert error_of(file.ask, access=WRITE) in (None, "ENXIO")  # nothing is left to map
        file.close()


def test_again_and_again(make_pool):
    """Programs that come back, and threads that go when they are not needed."""
    pool = make_pool(256 * MIB, THREADS)

    def threads():
        return len(os.listdir(f"/proc/{pool.serving()}/task"))

    with mute_programs(pool, 1):
        use(pool, "before")  # all that there is anyway is there now
    before = threads()
    for number in range(3):
        with mute_programs(pool, PROGRAMS) as programs:
            busy = Busy()
            for _, path in programs:
                busy.start(os.truncate, path, 0)
            assert eventually(lambda: all(program.asked for program, _ in programs), True)
            assert threads() > before
            use(pool, number)
            busy.finish()
    assert eventually(lambda: (use_little(pool), threads())[1] <= before, True)


def use_little(pool):
    """Each thread that is not needed any more notices with the next request that it gets."""
    busy = Busy()
    for number in range(16):
        busy.start(os.path.exists, pool.point / f"nothing{os.urandom(4).hex()}")
    busy.finish()


def test_those_that_are_stopped_are_not_waited_for(make_pool):
    """By however many files they hold."""
    pool = make_pool(256 * MIB, THREADS)
    paths = [make(pool.point / f"f{number}", 2 * MIB) for number in range(PROGRAMS)]
    ready, tell = os.pipe()
    pids = []
    for path in paths[:2]:
        pid = os.fork()
        if pid == 0:
            program = Program(pool.point)
            for each in paths:
                program.open(each).map()
            os.write(tell, b"x")
            signal.pause()
            os._exit(0)
        pids.append(pid)
    try:
        assert os.read(ready, 1) and os.read(ready, 1)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
            os.waitpid(pid, os.WUNTRACED)
        for path in paths:
            os.truncate(path, 0)
        use(pool, 1)
        assert status(pool)["counters"]["waited"] == 0
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(ready)
        os.close(tell)


def test_writes_beside_readers_do_not_wait_for_ranges(make_pool):
    """
    A write past the page cache beside a reader through it is answered when the pages are dropped; not
    behind others' ranges, whose programs are waited for one by one.
    """
    pool = make_pool(256 * MIB)
    pool.remount("direct=owner")  # dax=auto: the log is read through the cache
    log = pool.point / "log"
    log.write_bytes(bytes(4096))
    with mute_programs(pool, PROGRAMS) as programs, opened(log) as reader:
        assert os.pread(reader, 1, 0) == b"\0" and is_cached(reader)
        busy = Busy()
        for _, path in programs:
            busy.start(insert, path)
        assert eventually(lambda: any(program.asked for program, _ in programs), True)
        with opened(log, os.O_WRONLY) as writer:
            for number in range(20):
                os.pwrite(writer, b"%08d" % number, 0)
                assert os.pread(reader, 8, 0) == b"%08d" % number
        assert busy.ended() < PROGRAMS - 2, "they wait still"
        busy.finish()


def insert(path):
    with opened(path, os.O_RDWR) as fd:
        assert error_of(change_range, fd, FALLOC_INSERT_RANGE, 0, 2 * MIB) == "EBUSY"
