# SPDX-License-Identifier: BSD-3-Clause
"""A bucket that continues in a file's block."""

from pool import BUCKET_NEXT

EXPECT = {"shared"}


def damage(pool):
    _, entry = next(pool.leaf_entries(pool.lookup("direct")))
    pool.put(next(pool.buckets(pool.lookup("many"))) + BUCKET_NEXT, entry & ~0xfff)


def after(pool):
    assert len(pool.names(pool.lookup('many'))) == 300
