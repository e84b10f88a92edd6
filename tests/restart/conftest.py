# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: pools that are put away whatever their daemons do."""

import re
import shutil

import pytest

from support.pool import MIB

from restart.mount import RestartPool


@pytest.fixture
def make_pool(request, bin_dir, huge_dir):
    """make_pool(size, mkfs=[...]) -> RestartPool, not mounted; looked at when the test is over."""
    pools = []
    failed = request.session.testsfailed

    def make(size=256 * MIB, **kwargs):
        name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40]
        pools.append(RestartPool(bin_dir, huge_dir / f"restart-{len(pools)}-{name}", size=size,
                                 **kwargs))
        return pools[-1]

    yield make
    for pool in pools:
        try:
            if request.session.testsfailed == failed:
                pool.finish()
            else:
                print(f"the daemon's log:\n{pool.log_tail()}")
        finally:
            pool.abandon()
            shutil.rmtree(pool.folder)
