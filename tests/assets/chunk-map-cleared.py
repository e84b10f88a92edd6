# SPDX-License-Identifier: BSD-3-Clause
"""The inode map lost its only chunk."""

from pool import ROOT

EXPECT = {"chunk-lost"}


def damage(pool):
    pool.put(pool.super('inode_map_offset'), 0)


def after(pool):
    assert 'direct' in pool.names(ROOT)
