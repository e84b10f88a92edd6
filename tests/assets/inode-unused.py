# SPDX-License-Identifier: BSD-3-Clause
"""A name leads to an inode that is not in use."""

EXPECT = {"target", "block-lost"}


def damage(pool):
    pool.used(pool.lookup('direct'), False)
