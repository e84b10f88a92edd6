# SPDX-License-Identifier: BSD-3-Clause
"""An inode whose checksum is wrong, all else is right."""

EXPECT = {"inode-crc"}


def damage(pool):
    pool.set_inode(pool.lookup('direct'), fix=False, uid=1)


def after(pool):
    assert pool.inode(pool.lookup('direct'), 'uid') == 1
