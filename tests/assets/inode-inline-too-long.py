# SPDX-License-Identifier: BSD-3-Clause
"""Inline data longer than the inode."""

EXPECT = {"inode"}


def damage(pool):
    pool.set_inode(pool.lookup('inline'), size=4000)
