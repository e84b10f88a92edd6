# SPDX-License-Identifier: BSD-3-Clause
"""Right checksums, but the pool is larger than the device."""

REFUSED = ""


def damage(pool):
    pool.set_super(pool_size=1 << 43)
