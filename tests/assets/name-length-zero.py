# SPDX-License-Identifier: BSD-3-Clause
"""A name of no length."""

EXPECT = {"bucket"}


def damage(pool):
    pool.put(pool.slot('direct') + 13, 0, 'B')
