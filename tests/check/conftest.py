# SPDX-License-Identifier: BSD-3-Clause
"""A pool with one of everything, made once and copied."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

SIZE = 32 << 20


@pytest.fixture(scope="session")
def pristine(bin_dir):
    path = Path(tempfile.mkdtemp(prefix="daxfuse-", dir="/dev/shm"))
    with open(path / "pool", "wb") as file:
        file.truncate(SIZE)
    subprocess.run([bin_dir.parent / "tests/fuzz/populate", path / "pool"], check=True)
    yield path / "pool"
    shutil.rmtree(path)


@pytest.fixture
def populated(pristine, memory_dir):
    path = memory_dir / "pool"
    subprocess.run(["cp", "--sparse=always", pristine, path], check=True)
    return path
