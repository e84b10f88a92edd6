# SPDX-License-Identifier: BSD-3-Clause
"""A directory that forgot half of its buckets."""

EXPECT = {"lost"}


def damage(pool):
    ino = pool.lookup("many")
    pool.set_inode(ino, size=pool.inode(ino, "size") // 2 & ~0xfff)
