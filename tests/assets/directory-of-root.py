# SPDX-License-Identifier: BSD-3-Clause
"""A name of the root inside the root."""

from pool import ROOT

EXPECT = {"second-name"}


def damage(pool):
    pool.retarget('empty-directory', ROOT)
