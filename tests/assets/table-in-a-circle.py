# SPDX-License-Identifier: BSD-3-Clause
"""A table that holds itself."""

from pool import INODE_DATA, TABLE

EXPECT = {"shared"}


def damage(pool):
    ino = pool.lookup("far")
    top = pool.get(pool.inode_at(ino) + INODE_DATA) & ~0xfff
    pool.put(top + 8 * 100, top | TABLE)
