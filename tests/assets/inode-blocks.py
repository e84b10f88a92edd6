# SPDX-License-Identifier: BSD-3-Clause
"""A wrong count of blocks."""

EXPECT = {"blocks"}


def damage(pool):
    pool.set_inode(pool.lookup('table'), blocks=7)
