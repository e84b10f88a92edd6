# SPDX-License-Identifier: BSD-3-Clause
"""The last unit, with the spare superblock, is marked free."""

from pool import FREE, SYSTEM

EXPECT = {"unit-state"}


def damage(pool):
    pool.put(pool.word_at(pool.units(SYSTEM)[-1]), FREE)
