# SPDX-License-Identifier: BSD-3-Clause
"""No superblock is whole."""

REFUSED = "both superblocks"


def damage(pool):
    for copy in (0, 1):
        pool.put(pool.super_at(copy) + 200, 0)
