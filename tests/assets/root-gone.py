# SPDX-License-Identifier: BSD-3-Clause
"""The root is no inode."""

from pool import ROOT

EXPECT = {"root"}


def damage(pool):
    pool.set_inode(ROOT, magic=0)


def after(pool):
    found = pool.names(pool.lookup("lost+found"))
    assert len(found) == 17
