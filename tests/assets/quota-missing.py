# SPDX-License-Identifier: BSD-3-Clause
"""A project in use without a record."""

EXPECT = {"quota"}


def damage(pool):
    at = pool.quota_at(42)
    pool.map[at:at + 64] = bytes(64)


def after(pool):
    pool.quota_at(42)
