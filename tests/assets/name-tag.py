# SPDX-License-Identifier: BSD-3-Clause
"""A name whose tag is wrong: it is not found."""

from pool import BUCKET_TAG

EXPECT = {"key"}


def damage(pool):
    at = pool.slot("direct")
    bucket = at & ~0xfff
    tag = bucket + BUCKET_TAG + (at - bucket - 128) // 64
    pool.put(tag, pool.get(tag, "B") ^ 1, "B")
