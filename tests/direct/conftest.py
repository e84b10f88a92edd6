# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: a pool all of whose files may be mapped directly, and programs that do."""

import re
import shutil

import pytest

from support.direct import Program
from support.pool import MIB, Pool


@pytest.fixture
def make_pool(request, bin_dir, huge_dir):
    """make_pool(size, *options) -> Pool, mounted with dax=always; checked when the test is over."""
    pools = []

    def make(size=128 * MIB, *options, mkfs=()):
        name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40]
        pool = Pool(bin_dir, huge_dir / f"direct-{len(pools)}-{name}", size=size, mkfs=mkfs)
        pools.append(pool)
        pool.mount("dax=always", *options)
        return pool

    yield make
    for pool in pools:
        try:
            pool.close()
        finally:
            pool.abandon()
            shutil.rmtree(pool.folder)


@pytest.fixture
def pool(make_pool):
    return make_pool()


@pytest.fixture
def program(pool):
    """A program that is connected to the pool's daemon."""
    program = Program(pool.point)
    yield program
    program.close()
