# SPDX-License-Identifier: BSD-3-Clause
"""A tail that has grown over the 2 MiB that it lies in."""

EXPECT = {"tail"}


def damage(pool):
    ino = pool.lookup('units')
    pool.orphan(ino, True)
    pool.set_inode(ino, flags=0x4000, tail_size=1 << 63)
