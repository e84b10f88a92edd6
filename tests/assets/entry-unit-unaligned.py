# SPDX-License-Identifier: BSD-3-Clause
"""A unit entry in the middle of a unit."""

from pool import BLOCK

EXPECT = {"entry"}


def damage(pool):
    ino = pool.lookup("units")
    at, entry = next(pool.leaf_entries(ino))
    pool.set_entry(ino, at, entry + BLOCK)
