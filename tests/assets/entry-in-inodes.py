# SPDX-License-Identifier: BSD-3-Clause
"""A file that maps the inodes, to write to them."""

EXPECT = {"entry"}


def damage(pool):
    ino = pool.lookup("direct")
    at, _ = next(pool.leaf_entries(ino))
    pool.set_entry(ino, at, pool.chunk_at() | 1)
