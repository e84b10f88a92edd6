# SPDX-License-Identifier: BSD-3-Clause
"""Attributes in a block behind the device."""

from pool import INODE_XATTR

EXPECT = {"xattr"}


def damage(pool):
    ino = pool.lookup("table")
    pool.put(pool.inode_at(ino) + INODE_XATTR, 1 << 50 | 1)
    pool.fix_inode(ino)
