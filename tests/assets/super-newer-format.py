# SPDX-License-Identifier: BSD-3-Clause
"""An incompat bit that nobody knows."""

REFUSED = "newer format"


def damage(pool):
    pool.set_super(incompat=1 << 40)
