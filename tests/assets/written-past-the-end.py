# SPDX-License-Identifier: BSD-3-Clause
"""A block behind the end of the file counts as written."""

EXPECT = {"written"}


def damage(pool):
    ino = pool.lookup("allocated")
    at, entry = next(pool.leaf_entries(ino))
    pool.set_entry(ino, at, entry | 1)
