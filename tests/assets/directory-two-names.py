# SPDX-License-Identifier: BSD-3-Clause
"""A directory with two names."""

from pool import ROOT

EXPECT = {"second-name"}


def damage(pool):
    pool.retarget("empty-directory", pool.lookup("a"))


def after(pool):
    assert "empty-directory" not in pool.names(ROOT) or "a" not in pool.names(ROOT)
