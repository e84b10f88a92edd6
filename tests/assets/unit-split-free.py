# SPDX-License-Identifier: BSD-3-Clause
"""The unit that holds all small files is marked free."""

from pool import SPLIT, FREE

EXPECT = {"unit-state"}


def damage(pool):
    pool.put(pool.word_at(pool.units(SPLIT)[0]), FREE)
