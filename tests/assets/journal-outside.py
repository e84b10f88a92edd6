# SPDX-License-Identifier: BSD-3-Clause
"""A record with a right checksum that would overwrite the superblock."""

EXPECT = {"journal-bad"}


def damage(pool):
    pool.journal(0, (1, 0, bytes(64)))
