# SPDX-License-Identifier: BSD-3-Clause
"""A tail that begins at a block that its 2 MiB do not have."""

EXPECT = {"tail"}


def damage(pool):
    ino = pool.lookup('direct')
    pool.orphan(ino, True)
    pool.set_inode(ino, flags=0x4000, tail_size=pool.inode(ino, "size"), tail_first=513)
