# SPDX-License-Identifier: BSD-3-Clause
"""A wrong \"..\"."""

from pool import ROOT

EXPECT = {"parent"}


def damage(pool):
    pool.set_inode(pool.lookup('a/a'), parent=ROOT)


def after(pool):
    assert pool.inode(pool.lookup('a/a'), 'parent') == pool.lookup('a')
