# SPDX-License-Identifier: BSD-3-Clause
"""The spare superblock is gone."""

EXPECT = {"super"}


def damage(pool):
    pool.map[pool.super_at(1):pool.super_at(1) + 4096] = bytes(4096)
