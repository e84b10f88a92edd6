# SPDX-License-Identifier: BSD-3-Clause
"""An inode that says it is another one."""

EXPECT = {"inode", "target"}


def damage(pool):
    pool.set_inode(pool.lookup('direct'), ino=4000)
