# SPDX-License-Identifier: BSD-3-Clause
"""A file in the list of orphans that has names."""

EXPECT = {"orphan-bit"}


def damage(pool):
    pool.orphan(pool.lookup('direct'), True)
