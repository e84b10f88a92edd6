# SPDX-License-Identifier: BSD-3-Clause
"""A directory that lacks a bucket."""

EXPECT = {"bucket", "lost"}


def damage(pool):
    ino = pool.lookup("many")
    at, _ = next(pool.leaf_entries(ino))
    pool.set_entry(ino, at, 0)


def after(pool):
    assert pool.names(pool.lookup("many"))
    assert pool.names(pool.lookup("lost+found"))
