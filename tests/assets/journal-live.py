# SPDX-License-Identifier: BSD-3-Clause
"""A record that a mount would replay: an inode's size."""

from pool import INODE_SIZE

EXPECT = set()


def damage(pool):
    ino = pool.lookup("sparse")
    raw = bytearray(pool.map[pool.inode_at(ino):pool.inode_at(ino) + INODE_SIZE])
    pool.set_inode(ino, nlink=2)
    pool.journal(1, (1, pool.inode_at(ino), bytes(raw)))


def after(pool):
    assert pool.inode(pool.lookup('sparse'), 'nlink') == 1
