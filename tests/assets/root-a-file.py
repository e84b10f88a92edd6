# SPDX-License-Identifier: BSD-3-Clause
"""The root is a file."""

from pool import ROOT

EXPECT = {"root"}


def damage(pool):
    pool.set_inode(ROOT, mode=0o100644)
