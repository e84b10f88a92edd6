# SPDX-License-Identifier: BSD-3-Clause
"""A unit of which more than 512 blocks are written."""

from pool import WRITTEN

EXPECT = {"entry"}


def damage(pool):
    ino = pool.lookup("units")
    at, entry = next(pool.leaf_entries(ino))
    pool.set_entry(ino, at, entry & ~WRITTEN | 1000)
