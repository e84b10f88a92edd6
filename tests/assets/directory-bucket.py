# SPDX-License-Identifier: BSD-3-Clause
"""A bucket without its magic: its names are gone, the files are not."""

EXPECT = {"bucket", "lost"}


def damage(pool):
    pool.put(next(pool.buckets(pool.lookup('many'))), 0)


def after(pool):
    assert pool.names(pool.lookup("many"))
    assert pool.names(pool.lookup("lost+found"))
