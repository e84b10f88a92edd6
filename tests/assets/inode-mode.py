# SPDX-License-Identifier: BSD-3-Clause
"""An inode that is neither file nor directory."""

EXPECT = {"inode"}


def damage(pool):
    pool.set_inode(pool.lookup('direct'), mode=0o644)
