# SPDX-License-Identifier: BSD-3-Clause
"""Every malformed image is found, repaired, and stays repaired.

tests/assets/NAME.py damages a pool with one of everything: damage(pool). EXPECT
are problems that must be named; REFUSED is what fsck says when there is nothing
to repair; after(pool) looks at what the repair left.
"""

import hashlib
import importlib.util
from pathlib import Path

import pytest

from pool import Pool

ASSETS = sorted((Path(__file__).resolve().parents[1] / "assets").glob("*.py"))


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem.replace("-", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def with_pool(path, fn):
    pool = Pool(path)
    try:
        fn(pool)
    finally:
        pool.close()


@pytest.mark.parametrize("path", ASSETS, ids=lambda path: path.stem)
def test_asset(path, tool, populated):
    asset = load(path)
    with_pool(populated, asset.damage)
    if hasattr(asset, "REFUSED"):
        assert asset.REFUSED in tool("fsck.daxfuse", "-y", populated, code=8).stderr
        return
    before = digest(populated)
    said = tool("fsck.daxfuse", "-n", populated, code=4 if asset.EXPECT else 0).json
    assert asset.EXPECT <= {problem["problem"] for problem in said["problems"]}, said
    assert digest(populated) == before, "-n changed the pool"

    done = tool("fsck.daxfuse", "-y", populated, code=1 if asset.EXPECT else 0).json
    assert done["found"] == done["repaired"]
    left = tool("fsck.daxfuse", "-n", populated, code=None).json
    assert left["clean"] and left["journal_records"] == 0, left["problems"]
    if hasattr(asset, "after"):
        with_pool(populated, asset.after)
