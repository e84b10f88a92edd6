# SPDX-License-Identifier: BSD-3-Clause
"""A tail that a mount will end: nothing is wrong with it."""

EXPECT = set()


def damage(pool):
    ino = pool.lookup('direct')
    pool.orphan(ino, True)
    pool.set_inode(ino, flags=0x4000, tail_size=pool.inode(ino, "size"), tail_first=2)
