# SPDX-License-Identifier: BSD-3-Clause
"""Blocks are marked as taken, and nothing uses them."""

EXPECT = {"block-lost"}


def damage(pool):
    pool.take(pool.free_block())
