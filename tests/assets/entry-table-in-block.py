# SPDX-License-Identifier: BSD-3-Clause
"""A block entry that says it is a table."""

from pool import TABLE, WRITTEN

EXPECT = {"entry"}


def damage(pool):
    ino = pool.lookup("direct")
    at, entry = next(pool.leaf_entries(ino))
    pool.set_entry(ino, at, entry & ~WRITTEN | TABLE)
