# SPDX-License-Identifier: BSD-3-Clause
"""A record whose checksum is wrong never happened."""

from pool import INODE_SIZE

EXPECT = set()


def damage(pool):
    ino = pool.lookup("sparse")
    pool.journal(2, (1, pool.inode_at(ino), bytes(INODE_SIZE)), fix=False)


def after(pool):
    assert pool.inode(pool.lookup('sparse'), 'nlink') == 1
