# SPDX-License-Identifier: BSD-3-Clause
"""A file claims a block inside another one's unit."""

from pool import BLOCK

EXPECT = {"shared"}


def damage(pool):
    _, unit = next(pool.leaf_entries(pool.lookup("units")))
    ino = pool.lookup("sparse")
    at, entry = next(pool.leaf_entries(ino))
    pool.set_entry(ino, at, (unit & ~0xfff) + BLOCK | 1)
