# SPDX-License-Identifier: BSD-3-Clause
"""A unit is marked as data, and nothing uses it."""

from pool import DATA, FREE

EXPECT = {"unit-lost"}


def damage(pool):
    pool.put(pool.word_at(pool.units(FREE)[0]), DATA)
