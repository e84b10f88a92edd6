# SPDX-License-Identifier: BSD-3-Clause
"""contrib/quickstart, as a new user runs it: without a terminal, and again."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
TIMEOUT = 900  # it builds


def quickstart(*args, wrap=()):
    return subprocess.run([*wrap, ROOT / "contrib/quickstart", *args], capture_output=True,
                          text=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT, cwd="/")


@pytest.fixture
def point(memory_dir, tool):
    path = memory_dir / "mnt"
    yield path
    if os.path.ismount(path):
        tool("daxfuse", "umount", "--wait", path)


def test_image_twice(image, point, tool):
    path = image(512 * MIB)
    for _ in range(2):
        done = quickstart(path, point)
        assert done.returncode == 0, done.stdout + done.stderr
        assert os.path.ismount(point)
        assert (point / "tour/large").stat().st_size == 32 * MIB
        assert f"umount --wait {point}" in done.stdout
    (point / "mine").write_text("kept")
    tool("daxfuse", "umount", "--wait", point)
    done = quickstart(path, point)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (point / "mine").read_text() == "kept"


def test_without_arguments_twice():
    """In a mount namespace of its own, because it takes fixed places."""
    script = f"""
        set -e
        mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /mnt
        {ROOT}/contrib/quickstart
        {ROOT}/contrib/quickstart
        findmnt -n -o FSTYPE -M /mnt/pm
        {ROOT}/build/release/bin/daxfuse umount --wait /mnt/pm
    """
    done = subprocess.run(["unshare", "--mount", "bash", "-c", script], capture_output=True,
                          text=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("fuse.daxfuse")
    assert "mounted on /mnt/pm already" in done.stdout


def test_foreign_is_refused(image, point):
    path = image(64 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-F", path], check=True)
    before = path.read_bytes()
    done = quickstart(path, point)
    assert done.returncode != 0 and "--format" in done.stderr
    assert path.read_bytes() == before and not os.path.ismount(point)
    assert quickstart("--format", path, point).returncode == 0
    assert os.path.ismount(point)


def test_usage():
    assert quickstart("--help").stdout.startswith("usage: ")
    assert quickstart("a", "b", "c").returncode == 2
    assert quickstart("--nonsense").returncode == 2
