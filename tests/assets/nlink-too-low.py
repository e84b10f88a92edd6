# SPDX-License-Identifier: BSD-3-Clause
"""Two names, one link."""

EXPECT = {"nlink"}


def damage(pool):
    pool.set_inode(pool.lookup('direct'), nlink=1)


def after(pool):
    assert pool.inode(pool.lookup('direct'), 'nlink') == 2
