# SPDX-License-Identifier: BSD-3-Clause
"""A name of an inode beyond all chunks."""

EXPECT = {"target"}


def damage(pool):
    pool.retarget('direct', 0xfffffff0)
