# SPDX-License-Identifier: BSD-3-Clause
"""A tail that no mount would find."""

EXPECT = {"orphan-bit"}


def damage(pool):
    ino = pool.lookup('direct')
    pool.set_inode(ino, flags=0x4000, tail_size=pool.inode(ino, "size"))
