# SPDX-License-Identifier: BSD-3-Clause
"""A name that says it is a directory, of a file."""

EXPECT = {"type"}


def damage(pool):
    pool.put(pool.slot('direct') + 12, 4, 'B')
