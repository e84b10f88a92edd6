# SPDX-License-Identifier: BSD-3-Clause
"""A chunk without its header."""

EXPECT = {"chunk-header"}


def damage(pool):
    pool.put(pool.chunk_at(), 0)
