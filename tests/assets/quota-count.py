# SPDX-License-Identifier: BSD-3-Clause
"""A project that counts wrong."""

EXPECT = {"quota"}


def damage(pool):
    pool.put(pool.quota_at(42) + 24, 1)
