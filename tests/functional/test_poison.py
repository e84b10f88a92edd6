# SPDX-License-Identifier: BSD-3-Clause
"""
Media errors. An image that is cut short under its daemon answers with SIGBUS, as
poison does: what lies there is EIO, all else goes on, and the daemon lives.
"""

import contextlib
import json
import os
import random

import pytest

from support.pool import MIB
from support.process import eventually, fails
from support.syscalls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, extents, fallocate

pytestmark = pytest.mark.image
UNIT = 2 * MIB
CONTENT = random.Random(1).randbytes(24 * MIB)


class Cut:
    """with Cut(pool, at): the image ends there; afterwards it is whole again."""

    def __init__(self, pool, at):
        self.image, self.at = pool.image, at

    def __enter__(self):
        with open(self.image, "r+b") as file:
            file.seek(self.at)
            self.rest = file.read()
            file.truncate(self.at)

    def __exit__(self, *_):
        with open(self.image, "r+b") as file:
            file.seek(self.at)
            file.write(self.rest)


def keep_blocks_low(pool):
    """Have the unit that is split for blocks low in the pool: tables of files lie there, and the
    names in the folder d. It is split when nothing else is free, and d keeps it so. The root's
    own names lie high, but the kernel knows the one that the tests need."""
    ballast = pool.point / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while file.write(bytes(UNIT)):
                pass
        lowest = min(unit_extents(ballast), key=lambda extent: extent.device_offset)
        fallocate(file.fileno(), FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, lowest.file_offset, UNIT)
    (pool.point / "d").mkdir()
    (pool.point / "d/low").write_bytes(bytes(100_000))
    ballast.unlink()
    assert eventually(lambda: pool.free()[0] * 4096 >= 40 * MIB, True)


@pytest.fixture(params=["dax=never", "dax=always"])
def pool(request, make_pool):
    pool = make_pool(64 * MIB)
    pool.mount(request.param)
    keep_blocks_low(pool)
    (pool.point / "d/f").write_bytes(CONTENT)
    pool.remount()  # nothing of it is in the page cache
    with pool.watched():
        yield pool
    assert pool.is_alive()


@pytest.fixture
def cut_at(pool):
    """A place in the image with units of the file on both sides of it."""
    places = sorted(extent.device_offset for extent in unit_extents(pool.point / "d/f"))
    return places[len(places) // 2]


def unit_extents(path):
    """The file's extents, unit by unit."""
    return [extent._replace(file_offset=extent.file_offset + at, device_offset=extent.device_offset + at,
                            length=UNIT)
            for extent in extents(path) for at in range(0, extent.length, UNIT)]


def test_reading(pool, cut_at):
    path = pool.point / "d/f"
    units = unit_extents(path)
    with Cut(pool, cut_at):
        fd = os.open(path, os.O_RDONLY)
        for unit in units:
            if unit.device_offset >= cut_at:
                with fails("EIO"):
                    os.pread(fd, 4096, unit.file_offset + 5 * 4096)
            else:
                assert os.pread(fd, UNIT, unit.file_offset) == CONTENT[unit.file_offset:][:UNIT]
        os.close(fd)
        assert os.stat(path).st_size == len(CONTENT)
        status = json.loads(pool.run("daxfuse", "status", pool.point))
        assert status["counters"]["poison_met"] > 0
    pool.remount()
    assert path.read_bytes() == CONTENT


def test_writing(pool, cut_at):
    """A write that meets poison fails; it never ends the daemon, and nothing else is damaged."""
    path = pool.point / "d/f"
    units = unit_extents(path)
    model = bytearray(CONTENT)
    with Cut(pool, cut_at):
        fd = os.open(path, os.O_RDWR)
        for unit in units:
            at = unit.file_offset + 10_000
            if unit.device_offset >= cut_at:
                with fails("EIO"):
                    os.pwrite(fd, b"x" * 100, at)
                    os.fsync(fd)
            else:
                os.pwrite(fd, b"x" * 100, at)
                os.fsync(fd)
                model[at:at + 100] = b"x" * 100
        os.close(fd)
    pool.remount()
    assert path.read_bytes() == model


def test_freeing(pool, cut_at):
    """Whole units are let go without touching what is in them."""
    path = pool.point / "d/f"
    with Cut(pool, cut_at):
        fd = os.open(path, os.O_RDWR)
        fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, 6 * UNIT)
        os.close(fd)
        os.unlink(path)
    assert os.listdir(pool.point / "d") == ["low"]


def test_everything_else_goes_on(pool, cut_at):
    """Names below the cut; where something above it is needed, EIO and no harm."""
    done = []
    with Cut(pool, cut_at):
        for i in range(200):
            try:
                (pool.point / f"d/new{i}").write_bytes(b"small")
                done.append(i)
            except OSError as error:
                assert error.errno in (5, 28), error
    assert done
    for i in done:
        assert (pool.point / f"d/new{i}").read_bytes() == b"small"
