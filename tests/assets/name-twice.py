# SPDX-License-Identifier: BSD-3-Clause
"""One name twice."""

from pool import BUCKET_TAG

EXPECT = {"duplicate"}


def damage(pool):
    first, second = pool.slot("sparse"), pool.slot("direct")
    pool.map[second:second + 64] = pool.map[first:first + 64]
    bucket = second & ~0xfff
    pool.put(bucket + BUCKET_TAG + (second - bucket - 128) // 64,
             pool.get(bucket + BUCKET_TAG + (first - bucket - 128) // 64, "B"), "B")
