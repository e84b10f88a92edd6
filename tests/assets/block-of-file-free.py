# SPDX-License-Identifier: BSD-3-Clause
"""A file's block is marked as free."""

EXPECT = {"block-free"}


def damage(pool):
    _, entry = next(pool.leaf_entries(pool.lookup("table")))
    pool.take(entry & ~0xfff, False)
