# SPDX-License-Identifier: BSD-3-Clause
"""A name leads to a slot without an inode."""

from pool import ROOT

EXPECT = {"inode", "target"}


def damage(pool):
    pool.set_inode(pool.lookup('direct'), magic=0)


def after(pool):
    assert 'direct' not in pool.names(ROOT)
