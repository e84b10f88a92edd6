# SPDX-License-Identifier: BSD-3-Clause
"""
What a plain mmap() of a file sees, through the kernel's page cache, while another program has the
file mapped directly (docs/design/direct.md, "What the kernel's own mappings see").
"""

import contextlib
import mmap
import os

from support.direct import EAGER
from support.pool import MIB
from support.process import eventually

from direct.test_mapping import make, pattern


@contextlib.contextmanager
def plain_mmap(path):
    fd = os.open(path, os.O_RDWR)
    memory = mmap.mmap(fd, 0)
    try:
        yield memory
    finally:
        memory.close()
        os.close(fd)


def test_a_page_is_as_it_was_when_it_was_read_in(pool, program):
    path = make(pool.point / "f", 4 * MIB)
    file = program.open(path)
    file.map(access=EAGER)
    with plain_mmap(path) as memory:
        assert memory[:4] == pattern(4)
        file.store(0, b"new1")
        file.store(MIB, b"new2")
        assert memory[:4] in (pattern(4), b"new1"), "it may be old"
        assert memory[MIB:MIB + 4] == b"new2", "it was not read in before"
        assert path.read_bytes()[:4] == b"new1", "read() never is"


def test_pages_are_dropped_when_the_program_closes_the_file(pool, program):
    path = make(pool.point / "f", 4 * MIB)
    file = program.open(path)
    file.map(access=EAGER)
    with plain_mmap(path) as memory:
        assert memory[:4] == pattern(4)
        file.store(0, b"new1")
        file.close()
        assert eventually(lambda: memory[:4], b"new1") == b"new1"


def test_who_maps_it_later_sees_what_is_there(pool, program):
    path = make(pool.point / "f", 4 * MIB)
    with plain_mmap(path) as memory:
        assert memory[:4] == pattern(4)  # in the page cache from now on
    file = program.open(path)
    file.map(access=EAGER)
    file.store(0, b"new1")
    file.close()

    def look():
        with plain_mmap(path) as memory:
            return memory[:4]
    assert eventually(look, b"new1") == b"new1"


def test_a_store_through_the_page_cache_comes_with_msync(pool, program):
    path = make(pool.point / "f", 4 * MIB)
    file = program.open(path)
    file.map()
    with plain_mmap(path) as memory:
        memory[MIB:MIB + 4] = b"msyn"
        memory.flush()
        assert file.load(MIB, 4) == b"msyn"
        memory[:4] = b"read"
        assert path.read_bytes()[:4] == b"read", "read() writes the pages back first"
        assert file.load(0, 4) == b"read"


def test_a_write_drops_the_pages_it_writes(pool, program):
    path = make(pool.point / "f", 4 * MIB)
    with plain_mmap(path) as memory:
        assert memory[:4] == pattern(4)
        with open(path, "r+b") as other:
            other.write(b"writ")
        assert memory[:4] == b"writ"
