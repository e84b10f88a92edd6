# SPDX-License-Identifier: BSD-3-Clause
"""A bucket whose bitmaps contradict each other."""

from pool import BUCKET_USED

EXPECT = {"bucket"}


def damage(pool):
    pool.put(next(pool.buckets(pool.lookup('many'))) + BUCKET_USED, 1)
