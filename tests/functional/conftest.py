# SPDX-License-Identifier: BSD-3-Clause
"""
Fixtures of the tests on a mounted pool. Each module has a pool of its own, each test
a folder in it. A module that sets POOL_MODES gets one run for each of them:

    POOL_MODES = {"cached": ["dax=never"], "dax": ["dax=always"]}
"""

import os
import re
import shutil
import subprocess

import pytest

from support.pool import MIB, Folder, Pool


def pytest_generate_tests(metafunc):
    modes = getattr(metafunc.module, "POOL_MODES", None)
    if modes and "pool" in metafunc.fixturenames:
        metafunc.parametrize("pool", list(modes.values()), ids=list(modes), indirect=True,
                             scope="module")


@pytest.fixture(scope="session")
def make_pool_in(bin_dir, huge_dir):
    """make_pool_in(name, **as Pool()) -> Pool; the name is its folder's."""
    count = 0

    def make(name, **kwargs):
        nonlocal count
        count += 1
        return Pool(bin_dir, huge_dir / f"{count}-{re.sub(r'[^a-z0-9]+', '-', name.lower())[:40]}",
                    **kwargs)

    return make


@pytest.fixture(scope="module")
def pool(request, make_pool_in):
    """A mounted pool of 256 MiB, or DAXFUSE_DEVICE, shared by the tests of a module; or DAXFUSE_FOLDER of
    one that is mounted by somebody else."""
    if "DAXFUSE_FOLDER" in os.environ:
        yield Folder(os.environ["DAXFUSE_FOLDER"])
        return
    pool = make_pool_in(request.module.__name__, device=os.environ.get("DAXFUSE_DEVICE"))
    pool.mount(*getattr(request, "param", []))
    empty = pool.free()
    yield pool
    failed = request.session.testsfailed
    if not failed:
        # All space comes back, at the latest with the next mount.
        assert os.listdir(pool.point) == []
        pool.remount()
        assert pool.free() == empty
    pool.put_away()


@pytest.fixture
def mnt(request, pool):
    """An empty folder for one test; its daemon must be alive at the end."""
    path = pool.point / re.sub(r"[^\w]+", "-", request.node.name)[:100]
    with pool.watched():
        path.mkdir()
        yield path
        if not pool.is_alive():
            pytest.fail(pool.revive())
        empty(path)


def empty(path):
    try:
        shutil.rmtree(path)
    except OSError:
        # A test that failed may have left flags behind.
        subprocess.run(["chattr", "-R", "-f", "-i", "-a", path], capture_output=True)
        shutil.rmtree(path)


@pytest.fixture
def make_pool(request, make_pool_in):
    """make_pool(size, mkfs=[...]) -> Pool, not mounted, for one test only. A test with the mark
    "image" needs a file, and not a device."""
    pools, file = [], request.node.get_closest_marker("image") is not None

    def make(size=64 * MIB, **kwargs):
        pools.append(make_pool_in(request.node.name, size=size, file=file, **kwargs))
        return pools[-1]

    yield make
    for pool in pools:
        pool.put_away()
