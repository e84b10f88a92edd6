# SPDX-License-Identifier: BSD-3-Clause
"""A record whose offset and length wrap around."""

EXPECT = {"journal-bad"}


def damage(pool):
    pool.journal(0, (1, (1 << 64) - 8, bytes(64)))
