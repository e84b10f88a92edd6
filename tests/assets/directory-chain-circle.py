# SPDX-License-Identifier: BSD-3-Clause
"""A bucket that continues in itself."""

from pool import BUCKET_NEXT

EXPECT = {"shared"}


def damage(pool):
    at = next(pool.buckets(pool.lookup("many")))
    pool.put(at + BUCKET_NEXT, at)


def after(pool):
    assert len(pool.names(pool.lookup('many'))) == 300
