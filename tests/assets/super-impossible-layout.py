# SPDX-License-Identifier: BSD-3-Clause
"""Right checksums, but the unit words lie beyond the pool."""

REFUSED = "both superblocks"


def damage(pool):
    pool.set_super(unit_offset=1 << 60)
