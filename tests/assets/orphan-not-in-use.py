# SPDX-License-Identifier: BSD-3-Clause
"""An orphan that is no inode."""

EXPECT = {"orphan-bit"}


def damage(pool):
    pool.orphan(4000, True)
