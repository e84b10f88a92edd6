# SPDX-License-Identifier: BSD-3-Clause
"""More attributes than there can be."""

EXPECT = {"xattr"}


def damage(pool):
    pool.set_inode(pool.lookup('inline'), xattr_bytes=1 << 31)
