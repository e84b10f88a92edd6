# SPDX-License-Identifier: BSD-3-Clause
"""Two files, one table."""

from pool import INODE_DATA

EXPECT = {"shared"}


def damage(pool):
    other = pool.lookup("hole")
    pool.put(pool.inode_at(other) + INODE_DATA, pool.get(pool.inode_at(pool.lookup("table")) + INODE_DATA))
    pool.set_inode(other, table_level=0)


def after(pool):
    assert len(list(pool.leaf_entries(pool.lookup('table')))) > 40
