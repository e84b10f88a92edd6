# SPDX-License-Identifier: BSD-3-Clause
"""A directory that counts a child too many."""

EXPECT = {"nlink"}


def damage(pool):
    pool.set_inode(pool.lookup('a'), nlink=4)
