# SPDX-License-Identifier: BSD-3-Clause
"""A tail of a file whose bytes lie in the inode."""

EXPECT = {"tail"}


def damage(pool):
    ino = pool.lookup('inline')
    pool.orphan(ino, True)
    pool.set_inode(ino, flags=0x4000, tail_size=pool.inode(ino, "size"))
