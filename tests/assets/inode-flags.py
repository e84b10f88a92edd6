# SPDX-License-Identifier: BSD-3-Clause
"""Flags that do not exist."""

EXPECT = {"inode-field"}


def damage(pool):
    pool.set_inode(pool.lookup('direct'), flags=1 << 30)
