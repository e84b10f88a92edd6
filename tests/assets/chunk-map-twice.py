# SPDX-License-Identifier: BSD-3-Clause
"""Two places of the inode map, one chunk."""

EXPECT = {"chunk-map"}


def damage(pool):
    pool.put(pool.super('inode_map_offset') + 8, pool.chunk_at())
