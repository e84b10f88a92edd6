# SPDX-License-Identifier: BSD-3-Clause
"""What is refused, or fails, changes nothing: what was stored through mappings is flushed by the
next fsync, and pins guard what they have guarded. tests/unit/clients/failures.c has every step of
every operation; here it is the whole daemon, as it is used."""

import os
from types import SimpleNamespace

import pytest

from support.direct import EAGER, UNIT, error_of
from support.pool import MIB
from support.syscalls import FS_IMMUTABLE_FL, set_flags

from direct.test_mapping import make, pattern, status
from direct.test_revocation import COLLAPSE, INSERT, PUNCH_HOLE, fallocate, fill

UNITS = 16


@pytest.fixture
def pool(make_pool, monkeypatch):
    """As on persistent memory: the kernel asks for each fsync."""
    monkeypatch.setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE")
    return make_pool()


def immutable(call):
    """The call while the file is immutable; its descriptor was opened before."""

    def attempt(path):
        fd = os.open(path, os.O_RDWR)
        set_flags(path, FS_IMMUTABLE_FL)
        try:
            call(fd)
        finally:
            set_flags(path, 0)
            os.close(fd)
    return attempt


def in_a_full_pool(call):
    def attempt(path):
        other = fill(SimpleNamespace(point=path.parent))
        try:
            call(path)
        finally:
            other.unlink()
    return attempt


def fallocate_fd(fd, *args):
    fallocate(f"/proc/self/fd/{fd}", *args)


REFUSED = {
    "insert, unaligned": (lambda path: fallocate(path, INSERT, 100, 4096), "EINVAL"),
    "insert, behind the end": (lambda path: fallocate(path, INSERT, 1 << 40, 4096), "EINVAL"),
    "collapse, all": (lambda path: fallocate(path, COLLAPSE, 0, UNITS * UNIT), "EINVAL"),
    "insert, full": (in_a_full_pool(lambda path: fallocate(path, INSERT, 4096, 64 * MIB)), "ENOSPC"),
    "truncate, immutable": (immutable(lambda fd: os.ftruncate(fd, 0)), "EPERM"),
    "truncate, too far": (lambda path: os.truncate(path, (1 << 62)), "EFBIG"),
}


def flushes(pool):
    return status(pool)["counters"]["flushed"]


def fsync(path):
    fd = os.open(path, os.O_RDWR)
    os.fsync(fd)
    os.close(fd)


@pytest.mark.parametrize("name", [None, *REFUSED])
def test_what_was_stored_is_flushed(pool, program, name):
    path = make(pool.point / "f", UNITS * UNIT)
    file = program.open(path)
    file.map(access=EAGER)
    file.store(0, pattern(UNITS * UNIT, 5))
    assert status(pool)["dirty"] == UNITS * UNIT
    before = flushes(pool)
    if name:
        attempt, error = REFUSED[name]
        assert error_of(attempt, path) == error
    fsync(path)
    # a file that becomes immutable is flushed, too
    assert flushes(pool) - before in ((UNITS, 2 * UNITS) if name == "truncate, immutable" else (UNITS,))
    assert path.read_bytes() == pattern(UNITS * UNIT, 5)


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "insert, full"])
def test_nobody_is_asked_for_what_is_refused(pool, program, name):
    path = make(pool.point / "f", UNITS * UNIT)
    file = program.open(path)
    file.map(access=EAGER)
    attempt, error = REFUSED[name]
    assert error_of(attempt, path) == error
    assert program.asked == []


@pytest.mark.parametrize("name", REFUSED)
def test_pins_go_on_guarding(pool, program, name):
    """Of pinned memory no part leaves the file because something else was refused."""
    path = make(pool.point / "f", UNITS * UNIT)
    file = program.open(path)
    file.pin(0, 2 * UNIT)
    attempt, error = REFUSED[name]
    # as it is pinned, what would move it is refused for that, where it is not for itself
    assert error_of(attempt, path) in (error, "EBUSY")
    for mode in (INSERT, COLLAPSE):
        assert error_of(fallocate, path, mode, UNIT, UNIT) == "EBUSY"
    piece, = file.map(0, UNIT, access=EAGER)
    file.store(0, b"through the pin")
    assert path.read_bytes()[:15] == b"through the pin"
    file.let_go()
    file.unpin(0, 2 * UNIT)
    fallocate(path, COLLAPSE, UNIT, UNIT)
    assert piece.length == UNIT


def test_holds_end_when_it_was_refused(pool, program):
    """What is pinned is held for a punch; when that fails, the space is the file's as before."""
    path = make(pool.point / "f", 0)
    free = os.statvfs(pool.point).f_bfree
    make(path, UNITS * UNIT)
    file = program.open(path)
    file.pin(0, 2 * UNIT)
    assert error_of(immutable(lambda fd: fallocate_fd(fd, PUNCH_HOLE, 0, UNIT)), path) == "EPERM"
    file.unpin(0, 2 * UNIT)
    file.close()
    os.truncate(path, 0)
    assert os.statvfs(pool.point).f_bfree == free
