# SPDX-License-Identifier: BSD-3-Clause
"""The unit of the inodes is marked free."""

from pool import FREE, INODES

EXPECT = {"unit-state"}


def damage(pool):
    pool.put(pool.word_at(pool.units(INODES)[0]), FREE)
