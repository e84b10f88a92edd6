# SPDX-License-Identifier: BSD-3-Clause
"""A tail of a file that is being truncated."""

EXPECT = {"tail"}


def damage(pool):
    ino = pool.lookup('direct')
    pool.orphan(ino, True)
    pool.set_inode(ino, flags=0xc000, tail_size=pool.inode(ino, "size"))
