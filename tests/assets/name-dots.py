# SPDX-License-Identifier: BSD-3-Clause
"""A name that is \"..\"."""

EXPECT = {"name"}


def damage(pool):
    at = pool.slot("direct")
    pool.put(at + 13, 2, "B")
    pool.map[at + 20:at + 22] = b".."
