# SPDX-License-Identifier: BSD-3-Clause
"""A name under a key that is not its own: it is not found."""

EXPECT = {"key"}


def damage(pool):
    pool.put(pool.slot('direct'), 0x1234567890)


def after(pool):
    assert pool.lookup('direct') == pool.lookup('hard-link')
