# SPDX-License-Identifier: BSD-3-Clause
"""An entry that points behind the device."""

EXPECT = {"entry"}


def damage(pool):
    ino = pool.lookup("direct")
    at, _ = next(pool.leaf_entries(ino))
    pool.set_entry(ino, at, 1 << 50 | 1)
