# SPDX-License-Identifier: BSD-3-Clause
"""A directory that says it has 2^40 buckets."""

EXPECT = {"bucket"}


def damage(pool):
    pool.set_inode(pool.lookup('many'), size=1 << 52)


def after(pool):
    assert len(pool.names(pool.lookup('many'))) == 300
