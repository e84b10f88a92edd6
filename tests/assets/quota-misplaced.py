# SPDX-License-Identifier: BSD-3-Clause
"""A record where no lookup finds it."""

EXPECT = {"quota"}


def damage(pool):
    at = pool.quota_at(42)
    base = pool.super("quota_offset")
    elsewhere = base + (at - base + 64 * 100) % (64 * pool.super("quota_count"))
    pool.map[elsewhere:elsewhere + 64] = pool.map[at:at + 64]
    pool.map[at:at + 64] = bytes(64)
