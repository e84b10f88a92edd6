# SPDX-License-Identifier: BSD-3-Clause
"""A label change reached the second superblock only."""

EXPECT = {"super"}


def damage(pool):
    pool.set_super(copy=1, generation=pool.super('generation') + 1)


def after(pool):
    assert pool.super('generation', 0) == pool.super('generation', 1)
