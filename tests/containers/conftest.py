# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of the tests with containers: a mounted pool."""

import re

import pytest

from support.pool import MIB, Pool


@pytest.fixture(scope="session")
def make_pool_in(bin_dir, huge_dir):
    """make_pool_in(name, *options) -> a mounted Pool."""
    count = 0

    def make(name, *options, size=256 * MIB):
        nonlocal count
        count += 1
        folder = huge_dir / f"c{count}-{re.sub(r'[^a-z0-9]+', '-', name.lower())[:40]}"
        pool = Pool(bin_dir, folder, size=size)
        pool.mount(*options)
        return pool

    return make


@pytest.fixture
def make_pool(request, make_pool_in):
    """make_pool(*options, size=...) -> a mounted Pool, for one test only."""
    pools = []

    def make(*options, **kwargs):
        pools.append(make_pool_in(request.node.name, *options, **kwargs))
        return pools[-1]

    yield make
    for pool in pools:
        pool.put_away()


@pytest.fixture(scope="module")
def pool(request, make_pool_in):
    """A pool for the tests of a module."""
    pool = make_pool_in(request.module.__name__)
    yield pool
    pool.put_away()
