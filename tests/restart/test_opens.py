# SPDX-License-Identifier: BSD-3-Clause
"""
Whether a file is read through the page cache or mapped directly (dax=auto) is known to the next
serving process, also of files that were open before, and of opens that were executed and not
answered.
"""

import os
import time

import pytest

from support.direct import EAGER, PAGE, WRITE, Program, error_of
from support.process import opened

from restart.test_answers import Held, killed_at_the_answer

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="traces and kills the daemon")


@pytest.fixture
def pool(make_pool):
    pool = make_pool()
    pool.serve()
    return pool


@pytest.fixture
def path(pool):
    path = pool.point / "f"
    path.write_bytes(b"old!" * (PAGE // 4))
    return path


@pytest.mark.parametrize("times", [1, 3])
def test_readers_through_the_cache(pool, path, times):
    with opened(path) as reader:
        os.pread(reader, 4, 0)
        for _ in range(times):
            pool.kill_serving()
        with Program(pool.point) as program:
            file = program.open(path)
            assert error_of(file.map, access=EAGER) == "ETXTBSY"
            os.pwrite(file.fd, b"new!", 0)
            assert os.pread(reader, 4, 0) == b"new!"
    with Program(pool.point) as program:
        file = program.open(path)
        file.map(access=EAGER)
        file.store(0, b"mine")
        assert path.read_bytes()[:4] == b"mine"


@pytest.mark.parametrize("mapped", [False, True])
def test_files_that_may_be_mapped(pool, path, mapped):
    """Opened for writing, and mapped perhaps: nobody reads through the cache from then on."""
    path.read_bytes()
    with Program(pool.point) as program:
        file = program.open(path)
        if mapped:
            file.map(access=EAGER)
        pool.kill_serving()
        with opened(path) as reader, Program(pool.point, session=program.session) as again:
            assert os.pread(reader, 4, 0) == b"old!"
            later = again.open(path)
            later.map(access=EAGER)
            for i in range(20):
                later.store(0, b"%4d" % i)
                assert os.pread(reader, 4, 0) == b"%4d" % i


def test_pages_from_before(pool, path):
    """The next process does not know whether they are good."""
    path.read_bytes()
    with Program(pool.point) as program:
        file = program.open(path)
        file.map(access=EAGER)
        file.store(0, b"mine")
        pool.kill_serving()
    assert path.read_bytes()[:4] == b"mine"


FLAGS = {"read": os.O_RDONLY, "read and write": os.O_RDWR, "create": os.O_RDONLY | os.O_CREAT,
         "nameless": os.O_TMPFILE | os.O_RDWR}


@pytest.mark.parametrize("how", FLAGS)
def test_an_open_that_was_not_answered(pool, path, how):
    """It counts once: when it is closed nobody has the file open."""
    name = {"create": pool.point / "new", "nameless": pool.point}.get(how, path)
    os.stat(path)
    fd = killed_at_the_answer(pool, lambda: os.open(name, FLAGS[how]))
    os.close(fd)
    if how == "nameless":
        return
    if how == "create":
        os.truncate(name, PAGE)
    with Program(pool.point) as program:
        file = program.open(name)
        file.map(access=WRITE)
        file.store(0, b"mine")
    with opened(name) as reader:
        assert os.pread(reader, 4, 0) == b"mine"


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR])
def test_an_open_that_was_just_answered(pool, path, flags):
    """The process dies before it has noted that. The file stays open as it is."""
    os.stat(path)
    with pool.limit(60):
        held = Held(pool, "delay_exit")
        fd = os.open(path, flags)
        held.kill()
    for _ in range(3):
        os.statvfs(pool.point)  # the first new request settles what the last process has left
        time.sleep(0.1)
    with Program(pool.point) as program:
        if flags == os.O_RDONLY:
            assert error_of(program.open(path).map) == "ETXTBSY"
        else:
            with opened(path) as reader:
                file = program.open(path)
                file.map(access=EAGER)
                file.store(0, b"mine")
                assert os.pread(reader, 4, 0) == b"mine"
    os.close(fd)
    with Program(pool.point) as program:
        assert program.open(path).map(access=EAGER)


def test_a_release_that_was_not_answered(pool, path):
    fd = os.open(path, os.O_RDONLY)
    os.pread(fd, 4, 0)

    def close():
        os.close(fd)
        os.setxattr(path, "user.a", b"b")  # waits for its answer, as a release does not
    killed_at_the_answer(pool, close)
    with Program(pool.point) as program:
        assert program.open(path).map(access=EAGER)


def test_a_direct_write_that_was_not_answered(pool, path):
    """Beside a reader through the cache."""
    with opened(path) as reader, opened(path, os.O_RDWR) as writer:
        assert os.pread(reader, 4, 0) == b"old!"
        os.pwrite(writer, b"warm", 0)  # the kernel asks once for what a write takes away
        killed_at_the_answer(pool, lambda: os.pwrite(writer, b"new!", 0))
        assert os.pread(reader, 4, 0) == b"new!"
