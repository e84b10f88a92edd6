# SPDX-License-Identifier: BSD-3-Clause
"""A file with names that counts as deleted: a mount would free it."""

EXPECT = {"orphan-bit", "nlink"}


def damage(pool):
    pool.set_inode(pool.lookup('direct'), nlink=0)


def after(pool):
    assert pool.inode(pool.lookup('direct'), 'nlink') == 2
