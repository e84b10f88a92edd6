# SPDX-License-Identifier: BSD-3-Clause
"""One file, one unit twice."""

EXPECT = {"shared"}


def damage(pool):
    ino = pool.lookup("units")
    (_, entry), (at, _), *_ = pool.leaf_entries(ino)
    pool.set_entry(ino, at, entry)


def after(pool):
    (_, first), (_, second), *_ = pool.leaf_entries(pool.lookup("units"))
    assert first != second
