# SPDX-License-Identifier: BSD-3-Clause
"""The inode map points into nowhere; the header says where the inodes are."""

from pool import ROOT

EXPECT = {"chunk-map", "chunk-lost"}


def damage(pool):
    pool.put(pool.super('inode_map_offset'), 12345)


def after(pool):
    assert 'direct' in pool.names(ROOT)
