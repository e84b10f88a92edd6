# SPDX-License-Identifier: BSD-3-Clause
"""
Unmodified programs on files that are mapped directly. `pool` is mounted with dax=always;
run(...) is `daxfuse run`, or without it where a test compares.
"""

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from support.pool import MIB, Pool

HERE = Path(__file__).resolve().parent
SIZE = 8 * MIB


@pytest.fixture(scope="module")
def pool(request, bin_dir, huge_dir):
    """A mounted pool of 512 MiB; everything must be in order when it is put away."""
    pool = Pool(bin_dir, huge_dir / ("daxmap-" + re.sub(r"[^a-z]+", "-", request.module.__name__)),
                size=512 * MIB)
    pool.mount("dax=always")
    failed = request.session.testsfailed
    try:
        yield pool
        if request.session.testsfailed == failed:
            pool.close()
    finally:
        pool.remove()


@pytest.fixture
def mnt(request, pool):
    """An empty folder for one test; its daemon must be alive at the end, all space free again."""
    path = pool.point / re.sub(r"[^\w]+", "-", request.node.name)[:100]
    with pool.watched():
        path.mkdir()
        yield path
        assert pool.is_alive()
        shutil.rmtree(path)


@pytest.fixture
def file(mnt):
    """8 MiB; each page begins with its offset."""
    path = mnt / "file"
    path.write_bytes(b"".join(struct.pack("<Q", at).ljust(4096, b"\0") for at in range(0, SIZE, 4096)))
    return path


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """The test program, compiled."""
    path = tmp_path_factory.mktemp("daxmap") / "program"
    subprocess.run(["cc", "-O1", "-g", "-pthread", "-o", path, HERE / "program.c"], check=True)
    return path


class Done:
    """How a program ended, and what daxmap says of its mappings: [{"path", "huge", ...}]."""

    def __init__(self, done):
        self.code = done.returncode
        self.out = done.stdout
        self.err = "".join(line + "\n" for line in done.stderr.splitlines()
                           if not line.startswith("daxmap: "))
        self.mappings = []
        for line in done.stderr.splitlines():
            found = re.match(r"daxmap: (.*) offset (\d+) length (\d+): (.*)", line)
            if found:
                counts = re.findall(r"(huge|pages|zero|absent) (\d+)", found[4])
                self.mappings.append({"path": found[1], "length": int(found[3]),
                                      **{key: int(value) for key, value in counts}})

    def check(self):
        assert self.code == 0, f"exit {self.code}\n{self.out}{self.err}"
        return self


@pytest.fixture
def run(bin_dir):
    """run(program, ..., direct=True) -> Done"""

    def run(*args, direct=True, **kwargs):
        prefix = [bin_dir / "daxfuse", "run", "--verbose", "--"] if direct else []
        kwargs.setdefault("timeout", 120)
        return Done(subprocess.run([*prefix, *map(str, args)], capture_output=True, text=True,
                                   stdin=subprocess.DEVNULL, **kwargs))

    return run
