# SPDX-License-Identifier: BSD-3-Clause
"""A directory without a name, whose parent does not exist."""

EXPECT = {"lost"}


def damage(pool):
    ino = pool.lookup("a")
    pool.retarget("a", pool.lookup("inline"))
    pool.put(pool.slot("a") + 12, 8, "B")
    pool.set_inode(ino, parent=0xFFFFFFF0)


def after(pool):
    name, = pool.names(pool.lookup("lost+found"))
    assert pool.lookup(f"lost+found/{name}/a/a/a/a/leaf")
