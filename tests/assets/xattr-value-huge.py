# SPDX-License-Identifier: BSD-3-Clause
"""An attribute longer than all of them."""

from pool import INODE_XATTR

EXPECT = {"xattr"}


def damage(pool):
    from pool import crc32c
    ino = pool.lookup("inline")
    at, length = pool.inode_at(ino) + INODE_XATTR, pool.inode(ino, "xattr_bytes")
    pool.put(at + 12, 0xfffffff0, "I")
    pool.put(at, crc32c(pool.map[at + 4:at + length]), "I")
    pool.fix_inode(ino)
