# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: pools that are put away whatever their daemons do."""

import re
import shutil

import pytest

from support.pool import MIB

pytest.register_assert_rewrite("restart.harness", "restart.mount", "restart.workloads")

from restart.mount import RestartPool  # noqa: E402  (its assertions shall explain themselves)


@pytest.fixture
def make_pool(request, bin_dir, huge_dir, memory_dir):
    """make_pool(size, small_pages=False, mkfs=[...]) -> RestartPool, not mounted; looked at when
    the test is over."""
    pools = []
    failed = request.session.testsfailed

    def make(size=256 * MIB, small_pages=False, **kwargs):
        name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40]
        folder = memory_dir if small_pages else huge_dir
        pools.append(RestartPool(bin_dir, folder / f"restart-{len(pools)}-{name}", size=size,
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
