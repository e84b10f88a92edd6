# SPDX-License-Identifier: BSD-3-Clause
"""A file whose only name is gone."""

from pool import BUCKET_FIRST, BUCKET_USED

EXPECT = {"lost"}


def damage(pool):
    at = pool.slot("sparse")
    bucket = at & ~0xfff
    pool.set_bit(bucket + BUCKET_USED, (at - bucket - 128) // 64, False)
    pool.set_bit(bucket + BUCKET_FIRST, (at - bucket - 128) // 64, False)


def after(pool):
    assert len(pool.names(pool.lookup('lost+found'))) == 1
