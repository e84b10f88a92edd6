# SPDX-License-Identifier: BSD-3-Clause
"""
dax=auto, the default: any file may be mapped, and small ones are still read through the page cache.

A file has direct mappings, or readers through the page cache, never both: nobody reads stale bytes.
Each way from one to the other, also while others read, write and map. daxfuse/vfs/opens.c has the
argument.
"""

import errno
import mmap
import os
import random
import threading

import pytest

from support.direct import EAGER, HUGE, PAGE, UNIT, WRITE, Program, error_of
from support.pagecache import is_cached
from support.pool import MIB, abort_connection
from support.process import Child, eventually, opened
from support.syscalls import FALLOC_COLLAPSE_RANGE, XFLAG_DAX, change_range, set_xflags

from direct.test_mapping import make, pattern, status


def is_path_cached(path):
    with opened(path) as fd:
        return is_cached(fd)


@pytest.fixture
def pool(make_pool):
    pool = make_pool(128 * MIB)
    pool.remount("direct=owner")  # nothing about dax
    return pool


# ---- what may be mapped

@pytest.mark.parametrize("size", [10, PAGE, UNIT - 1, UNIT, 3 * UNIT + 5])
def test_any_file_that_is_open_for_writing(pool, program, size):
    file = program.open(make(pool.point / "f", size))
    pieces = file.map(access=EAGER)
    assert file.load(0, size) == pattern(size)
    assert bool(pieces[0].flags & HUGE) == (size >= UNIT - 1)


def test_a_new_file(pool, program):
    """Made, grown, mapped by one descriptor."""
    file = program.open(pool.point / "f", os.O_RDWR | os.O_CREAT)
    os.ftruncate(file.fd, 8 * UNIT)
    file.map(access=WRITE)
    file.store(5 * UNIT, b"here")
    assert os.pread(file.fd, 4, 5 * UNIT) == b"here"
    assert all(piece.flags & HUGE for piece, _ in file.pieces.values())


def test_a_large_file_for_reading(pool, program):
    file = program.open(make(pool.point / "f", 2 * UNIT), os.O_RDONLY)
    assert all(piece.flags & HUGE for piece in file.map())


def test_a_small_file_for_reading_is_the_page_caches(pool, program):
    file = program.open(make(pool.point / "f", PAGE), os.O_RDONLY)
    assert error_of(file.map) == "ETXTBSY"


def test_small_files_stay_in_the_page_cache(pool):
    path = make(pool.point / "f", 10 * PAGE)
    assert path.read_bytes() == pattern(10 * PAGE)
    assert is_path_cached(path)
    for _ in range(3):
        assert path.read_bytes() == pattern(10 * PAGE)
        assert is_path_cached(path), "an open does not drop it"


def test_the_flag_and_the_modes_stay(pool, program):
    path = make(pool.point / "f", PAGE)
    set_xflags(path, XFLAG_DAX)
    file = program.open(path, os.O_RDONLY)
    assert file.map()
    file.close()
    program.close()
    pool.remount("dax=inode")
    with Program(pool.point) as again:
        assert again.open(path, os.O_RDONLY).map()
        assert error_of(again.open(make(pool.point / "g", PAGE)).map) == "ENOTSUP"
    pool.remount("dax=never")
    with Program(pool.point) as again:
        assert error_of(again.open(path).map) == "ENOTSUP"


# ---- from one to the other

def test_a_reader_from_before_is_waited_for(pool, program):
    """While one reads through the page cache nobody maps; when it has closed the file, anybody may."""
    path = make(pool.point / "f", PAGE)
    with opened(path) as reader:
        assert os.pread(reader, 4, 0) == pattern(4)
        file = program.open(path)
        assert error_of(file.map, access=EAGER) == "ETXTBSY"
        os.pwrite(file.fd, b"new!", 0)
        assert os.pread(reader, 4, 0) == b"new!"
    file.map(access=EAGER)
    file.store(0, b"mine")
    with opened(path) as reader:
        assert os.pread(reader, 4, 0) == b"mine"


@pytest.mark.parametrize("ends", ["msync", "close", "range", "write"])
def test_a_plain_mapping_beside_a_reader_is_written_back(pool, ends):
    """The kernel writes the page back by a handle that goes past the cache, and locks it until it
    is answered: the daemon must not ask for the page to be dropped first."""
    path = make(pool.point / "f", 4 * PAGE)

    def work():
        with opened(path) as reader, opened(path, os.O_RDWR) as writer:
            os.pread(reader, 4, 0)
            with mmap.mmap(writer, 4 * PAGE) as mapped:
                mapped[:4] = b"mine"
                if ends == "msync":
                    mapped.flush()
                elif ends == "range":
                    change_range(writer, FALLOC_COLLAPSE_RANGE, PAGE, PAGE)
                elif ends == "write":
                    os.pwrite(writer, b"more", 4)
            if ends == "close":
                os.close(writer)
            return os.pread(reader, 8, 0)

    connection = os.stat(pool.point).st_dev
    child = Child(work)
    over = child.is_over(60)
    if not over:
        abort_connection(os.minor(connection))
    assert over, "it waits for itself"
    assert child.result() == (b"minemore" if ends == "write" else b"mine" + pattern(8)[4:])


def test_a_reader_that_closes_at_the_same_moment(pool, program):
    """Its release is on its way still."""
    path = make(pool.point / "f", PAGE)
    for _ in range(100):
        with opened(path) as reader:
            os.pread(reader, 4, 0)
        file = program.open(path)
        file.map(access=EAGER)
        file.close()


@pytest.mark.parametrize("mapped", [False, True])
def test_while_it_may_be_mapped_nobody_uses_the_cache(pool, program, mapped):
    path = make(pool.point / "f", PAGE)
    path.read_bytes()
    file = program.open(path)
    if mapped:
        file.map(access=EAGER)
    with opened(path) as reader, opened(path, os.O_WRONLY) as writer:
        assert os.pread(reader, 4, 0) == pattern(4)
        file.map(access=EAGER)
        for i in range(100):
            data = b"%4d" % i
            file.store(0, data)
            assert os.pread(reader, 4, 0) == data
            os.pwrite(writer, data[::-1], 4)
            assert file.load(4, 4) == data[::-1]
            file.store(4, data)
            assert os.pread(reader, 8, 0) == data + data


def test_after_the_mapping_the_cache_is_fresh(pool, program):
    """Pages from before, from a writer meanwhile, and from a mapping by the kernel meanwhile."""
    path = make(pool.point / "f", 4 * PAGE)
    path.read_bytes()
    with opened(path, os.O_WRONLY) as writer:
        file = program.open(path)
        file.map(access=EAGER)
        os.pwrite(writer, b"page" * (PAGE // 4), PAGE)
        for i in range(4):
            file.store(i * PAGE, b"new%d" % i)
        file.close()
    assert eventually(lambda: status(pool)["files"], 0) == 0
    data = path.read_bytes()
    assert [data[i * PAGE:i * PAGE + 4] for i in range(4)] == [b"new%d" % i for i in range(4)]
    assert path.read_bytes() == data and is_path_cached(path)


def test_again_and_again(pool, program):
    """At once after the mapping's end, before anything that is done about it later."""
    path = make(pool.point / "f", PAGE)
    for i in range(300):
        path.read_bytes()
        file = program.open(path)
        file.map(access=EAGER)
        file.store(0, b"%4d" % i)
        file.close()
        assert path.read_bytes()[:4] == b"%4d" % i


def test_growing_over_a_unit_while_open(pool, program):
    """A reader that opened it small is a reader through the cache still."""
    path = make(pool.point / "f", PAGE)
    with opened(path) as reader:
        os.pread(reader, 4, 0)
        os.truncate(path, 4 * UNIT)
        large = program.open(path, os.O_RDONLY)
        assert error_of(large.map) == "ETXTBSY"
        with opened(path, os.O_WRONLY) as writer:
            os.pwrite(writer, b"grown", 3 * UNIT)
        assert os.pread(reader, 5, 3 * UNIT) == b"grown"
        os.close(reader)
        large.map()
        assert large.load(3 * UNIT, 5) == b"grown"


def test_cut_small_while_mapped(pool, program):
    path = make(pool.point / "f", 4 * UNIT)
    file = program.open(path)
    file.map(access=EAGER)
    os.truncate(path, PAGE)
    file.map(access=EAGER)
    with opened(path) as reader:
        assert os.pread(reader, 4, 0) == pattern(4)
        file.store(0, b"more")
        assert os.pread(reader, 4, 0) == b"more"


def test_programs_are_read_through_the_cache(pool, program):
    """A large file that may be executed; one who writes to it has it directly all the same."""
    path = make(pool.point / "f", 2 * UNIT)
    path.chmod(0o755)
    assert error_of(program.open(path, os.O_RDONLY).map) == "ETXTBSY"
    program.close()
    with Program(pool.point) as other:
        assert other.open(path).map(access=EAGER)


def test_many_open_files(pool, program):
    """More than there is room to remember: those go past the cache, nobody gets stale bytes."""
    path = make(pool.point / "f", PAGE)
    with opened(path) as first:
        os.pread(first, 1, 0)
        fds = [os.open(path, os.O_RDONLY) for _ in range(900)]
        file = program.open(path)
        assert error_of(file.map) == "ETXTBSY"
        for fd in fds:
            os.close(fd)
        assert error_of(file.map) == "ETXTBSY"
    assert file.map(access=EAGER)


# ---- all at once, beside a flat reference

class Crowd:
    """
    Threads that use one file in every way. Each page has a writer of its own, which alters it in
    turns (through a mapping if it gets one, by write(2) otherwise) and knows what it has finished with:
    whoever reads the page afterwards, through whatever descriptor, must see that, or newer.
    """

    PAGES = 4

    def __init__(self, pool, path, seed):
        self.pool, self.path, self.seed = pool, path, seed
        self.finished = [0] * self.PAGES
        self.over = threading.Event()
        self.complaints = []
        self.mapped = self.refused = self.compared = 0

    def write(self, page):
        rng = random.Random(f"{self.seed}-{page}")
        with Program(self.pool.point) as program:
            while not self.over.is_set():
                self.over.wait(0.005)  # nobody may have it open for a moment
                if rng.random() < 0.85:
                    with opened(self.path, os.O_WRONLY) as fd:
                        self.alter(page, rng, lambda data: os.pwrite(fd, data, page * PAGE))
                    continue
                file = program.open(self.path, os.O_RDWR)
                try:
                    file.map(access=EAGER)
                    self.mapped += 1
                    self.alter(page, rng, lambda data: file.store(page * PAGE, data))
                except OSError as error:
                    if error.errno != errno.ETXTBSY:
                        raise
                    self.refused += 1
                    self.alter(page, rng, lambda data: os.pwrite(file.fd, data, page * PAGE))
                finally:
                    file.close()

    def alter(self, page, rng, put):
        for _ in range(rng.randrange(1, 20)):
            number = self.finished[page] + 1
            put(b"%08d" % number)
            self.finished[page] = number

    def read(self, who):
        rng = random.Random(f"{self.seed}-reader-{who}")
        while not self.over.is_set():
            self.over.wait(0.005)
            with opened(self.path, os.O_RDWR if rng.random() < 0.1 else os.O_RDONLY) as fd:
                for _ in range(rng.randrange(1, 30)):
                    page = rng.randrange(self.PAGES)
                    least = self.finished[page]
                    seen = int(os.pread(fd, 8, page * PAGE))
                    self.compared += 1
                    if rng.random() < 0.1:
                        self.over.wait(0.01)
                    if seen < least:
                        self.complaints.append(f"page {page}: {seen} after {least}")

    def run(self, seconds):
        def guarded(call, *args):
            try:
                call(*args)
            except Exception as error:
                self.complaints.append(repr(error))
                self.over.set()
        threads = [threading.Thread(target=guarded, args=(self.write, page))
                   for page in range(self.PAGES)]
        threads += [threading.Thread(target=guarded, args=(self.read, who)) for who in range(3)]
        for thread in threads:
            thread.start()
        self.over.wait(seconds)
        self.over.set()
        for thread in threads:
            thread.join()
        assert not self.complaints, self.complaints[:5]


def test_readers_writers_and_mappings_of_one_file(pool):
    path = pool.point / "f"
    path.write_bytes((b"%08d" % 0).ljust(PAGE, b"\0") * Crowd.PAGES)
    crowd = Crowd(pool, path, 1)
    crowd.run(8)
    assert crowd.mapped and crowd.refused and crowd.compared > 100
    data = path.read_bytes()
    assert [int(data[i * PAGE:i * PAGE + 8]) for i in range(Crowd.PAGES)] == crowd.finished
