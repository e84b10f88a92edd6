# SPDX-License-Identifier: BSD-3-Clause
"""A unit word with a state that does not exist."""

from pool import FREE

EXPECT = {"unit-lost"}


def damage(pool):
    pool.put(pool.word_at(pool.units(FREE)[0]), 0xdeadbeef)
