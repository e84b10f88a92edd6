# SPDX-License-Identifier: BSD-3-Clause
"""A file of 2^63 bytes."""

EXPECT = {"inode"}


def damage(pool):
    pool.set_inode(pool.lookup('direct'), size=1 << 63)
