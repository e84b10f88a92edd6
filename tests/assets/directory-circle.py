# SPDX-License-Identifier: BSD-3-Clause
"""A directory below itself."""

EXPECT = {"lost"}


def damage(pool):
    top, low = pool.lookup("a"), pool.lookup("a/a/a")
    slot, below = pool.slot("a"), pool.slot("a/a/a/a")
    pool.put(below + 8, top, "I")
    pool.set_inode(top, parent=low)
    pool.put(slot + 8, pool.lookup("inline"), "I")
    pool.put(slot + 12, 8, "B")


def after(pool):
    assert pool.names(pool.lookup('lost+found'))
