# SPDX-License-Identifier: BSD-3-Clause
"""A wrong count of names."""

EXPECT = {"entries"}


def damage(pool):
    pool.set_inode(pool.lookup('many'), entries=1)
