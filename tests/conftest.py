# SPDX-License-Identifier: BSD-3-Clause
"""What all tests share: the built tools, and images in memory."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# tests/run --quick leaves out what takes minutes: guests, other users' engines, whole machines that
# must be made first, storms of kills, and what searches for the unknown.
if "DAXFUSE_QUICK" in os.environ:
    collect_ignore = ["vm", "bench", "containers", "crash", "fuzz", "guests", "model", "service",
                      "restart/test_restart.py", "restart/test_answers.py", "restart/test_guests.py",
                      "restart/test_window.py", "direct/test_chaos.py", "direct/test_stall.py",
                      "functional/test_direct_io.py", "tools/test_quickstart.py",
                      "tools/test_replicate.py"]


def all_may_reach(path):
    return all(folder.stat().st_mode & 0o001 for folder in [path, *path.parents])


@pytest.fixture(scope="session")
def bin_dir():
    """Where the programs are: DAXFUSE_BIN, or the build of DAXFUSE_PRESET. Tests run them as other
    users, too: of a checkout in a home that is closed to those, the build is seen elsewhere."""
    preset = ROOT / "build" / os.environ.get("DAXFUSE_PRESET", "dev") / "bin"
    path = Path(os.environ.get("DAXFUSE_BIN", preset)).resolve()
    if os.geteuid() != 0 or all_may_reach(path):
        yield path
        return
    place = Path(tempfile.mkdtemp(prefix="daxfuse-build-", dir="/tmp"))
    place.chmod(0o755)
    subprocess.run(["mount", "--bind", path.parent, place], check=True)
    yield place / path.name
    subprocess.run(["umount", "-l", place], check=True)
    place.rmdir()


@pytest.fixture(scope="session")
def huge_dir():
    """A folder in memory that is mapped in 2 MiB pages where we may mount one; all users reach it."""
    path = Path(tempfile.mkdtemp(prefix="daxfuse-", dir="/tmp" if os.geteuid() == 0 else "/dev/shm"))
    path.chmod(0o755)
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "huge=always,mode=755", "daxfuse-tests", path],
        capture_output=True).returncode == 0
    yield path
    if mounted:
        subprocess.run(["umount", "-R", path], check=True)
        path.rmdir()
    else:
        shutil.rmtree(path)


@pytest.fixture(scope="session")
def tool(bin_dir):
    """tool("mkfs.daxfuse", "-f", image, code=0) -> CompletedProcess; JSON in .json if there is any."""

    def run(name, *args, code=0, **kwargs):
        kwargs.setdefault("timeout", 120)
        done = subprocess.run([bin_dir / name, *map(str, args)], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, **kwargs)
        assert code is None or done.returncode == code, (
            f"{name} {args}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        done.json = json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else None
        return done

    return run


@pytest.fixture
def memory_dir():
    """A folder on tmpfs."""
    path = Path(tempfile.mkdtemp(prefix="daxfuse-", dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def image(memory_dir):
    """image(size) -> a sparse file on tmpfs."""

    def make(size=64 << 20, name="pool"):
        path = memory_dir / name
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    return make


@pytest.fixture
def mount(tool, memory_dir):
    """mount(image, *options) -> mount point; makes a pool first if there is none."""
    points = []

    def make(device, *options):
        if tool("daxfuse", "probe", device, code=None).returncode:
            tool("mkfs.daxfuse", "-q", device)
        point = memory_dir / f"mnt{len(points)}"
        point.mkdir()
        points.append(point)
        tool("daxfuse", device, point, *(("-o", ",".join(options)) if options else ()))
        return point

    yield make
    for point in points:
        if os.path.ismount(point):
            tool("daxfuse", "umount", "--wait", point)
