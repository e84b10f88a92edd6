# SPDX-License-Identifier: BSD-3-Clause
"""The first superblock's second half is from another time."""

EXPECT = {"super"}


def damage(pool):
    pool.map[64:4096] = b'\x5a' * 4032
