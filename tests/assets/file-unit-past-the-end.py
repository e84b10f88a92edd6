# SPDX-License-Identifier: BSD-3-Clause
"""A unit of which more is written than the file is long."""

EXPECT = {"written"}


def damage(pool):
    ino = pool.lookup("units")
    pool.set_inode(ino, size=3 << 20)
