# SPDX-License-Identifier: BSD-3-Clause
"""A name that runs out of its bucket."""

EXPECT = {"bucket"}


def damage(pool):
    at = pool.slot("direct")
    pool.put(at + 13, 255, "B")
    pool.put(at + 14, 5, "B")
