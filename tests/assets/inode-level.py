# SPDX-License-Identifier: BSD-3-Clause
"""A table as high as the sky."""

EXPECT = {"inode"}


def damage(pool):
    pool.set_inode(pool.lookup('table'), table_level=200)
