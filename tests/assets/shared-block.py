# SPDX-License-Identifier: BSD-3-Clause
"""Two files, one block."""

from pool import BLOCK

EXPECT = {"shared"}


def damage(pool):
    _, entry = next(pool.leaf_entries(pool.lookup("direct")))
    other = pool.lookup("sparse")
    at, _ = next(pool.leaf_entries(other))
    pool.set_entry(other, at, entry)


def after(pool):
    _, first = next(pool.leaf_entries(pool.lookup("direct")))
    _, second = next(pool.leaf_entries(pool.lookup("sparse")))
    assert first != second
    first, second = first & ~0xfff, second & ~0xfff
    assert pool.map[first:first + BLOCK] == pool.map[second:second + BLOCK]
