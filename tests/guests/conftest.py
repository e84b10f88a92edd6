# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: a pool with an export, and a guest without a kernel."""

import itertools
import json
import os
import tempfile
from pathlib import Path

import pytest

from functional.conftest import make_pool, make_pool_in, mnt, pool  # noqa: F401 (fixtures)
from support.vhost import Guest


@pytest.fixture
def socket_dir():
    """Paths of sockets are short."""
    with tempfile.TemporaryDirectory(prefix="dxf-", dir="/tmp") as path:
        yield Path(path)


@pytest.fixture
def export(pool, mnt, socket_dir):  # noqa: F811
    """export(*options, folder=...) -> its socket; of the test's folder. It is removed at the end."""
    sockets = []
    numbers = itertools.count()

    def make(*options, folder=mnt):
        path = socket_dir / f"{next(numbers)}.sock"
        pool.run("daxfuse", "export", "--socket", path, "--tag", path.stem, "--subdir",
                 folder.relative_to(pool.point) if folder != pool.point else ".", *options, pool.point)
        sockets.append(path)
        return path

    yield make
    for path in sockets:
        if path.exists():
            pool.run("daxfuse", "export", "--remove", "--socket", path, pool.point)


@pytest.fixture
def connect(export):
    """connect(socket=None, **as Guest()) -> Guest; disconnected at the end."""
    guests = []

    def make(path=None, **how):
        guests.append(Guest(path or export(), **how))
        return guests[-1]

    yield make
    for guest in guests:
        guest.close()


@pytest.fixture
def guest(connect):
    return connect()


@pytest.fixture
def report(pool):  # noqa: F811
    """report(socket) -> what the status says of that export; None: there is none."""

    def get(path):
        exports = json.loads(pool.run("daxfuse", "status", pool.point))["exports"]
        return next((each for each in exports if each["socket"] == os.path.realpath(path.parent) + "/" +
                     path.name), None)

    return get
