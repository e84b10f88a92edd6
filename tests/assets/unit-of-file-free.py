# SPDX-License-Identifier: BSD-3-Clause
"""A file's unit is marked free: the next allocation would share it."""

from pool import DATA, FREE

EXPECT = {"unit-state"}


def damage(pool):
    pool.put(pool.word_at(pool.units(DATA)[0]), FREE)
