# SPDX-License-Identifier: BSD-3-Clause
"""The only chunk is at another place of the inode map, not at its own."""

EXPECT = {"chunk-map", "chunk-lost"}


def damage(pool):
    base = pool.super("inode_map_offset")
    pool.put(base + 8 * 5, pool.get(base))
    pool.put(base, 0)


def after(pool):
    assert "direct" in pool.names(3)
