# SPDX-License-Identifier: BSD-3-Clause
"""Attributes in the inode with a wrong checksum."""

from pool import INODE_XATTR

EXPECT = {"xattr"}


def damage(pool):
    ino = pool.lookup("inline")
    pool.put(pool.inode_at(ino) + INODE_XATTR, 0, "I")
    pool.fix_inode(ino)


def after(pool):
    assert pool.inode(pool.lookup('inline'), 'xattr_bytes') == 0
