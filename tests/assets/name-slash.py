# SPDX-License-Identifier: BSD-3-Clause
"""A name with a slash."""

EXPECT = {"name", "lost"}


def damage(pool):
    pool.put(pool.slot('sparse') + 20, ord('/'), 'B')
