# SPDX-License-Identifier: BSD-3-Clause
"""overlayfs with its upper layer on daxfuse, as containers use it."""

import os
import stat
import subprocess

import pytest

from support.process import fails
from support.syscalls import RENAME_EXCHANGE, renameat2

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def overlay(mnt):
    """A folder `lower` merged with an upper layer, both in the pool."""
    for name in ("lower/dir/sub", "upper", "work", "merged"):
        (mnt / name).mkdir(parents=True)
    (mnt / "lower/file").write_text("lower")
    (mnt / "lower/dir/a").write_text("a")
    (mnt / "lower/dir/sub/b").write_text("b")
    options = f"lowerdir={mnt}/lower,upperdir={mnt}/upper,workdir={mnt}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", mnt / "merged"], check=True)
    yield mnt
    subprocess.run(["umount", mnt / "merged"], check=True)


def test_mounts_with_everything(overlay):
    """The kernel falls back to read-only or less when the upper layer lacks something."""
    with open("/proc/self/mountinfo") as table:
        (line,) = [line for line in table if f" {overlay}/merged " in line]
    assert " rw," in line
    (overlay / "merged/new").write_text("x")
    assert (overlay / "upper/new").read_text() == "x"


def test_copy_up(overlay):
    (overlay / "merged/file").write_text("changed")
    assert (overlay / "lower/file").read_text() == "lower"
    assert (overlay / "upper/file").read_text() == "changed"
    os.chmod(overlay / "merged/dir/sub/b", 0o600)
    assert stat.S_IMODE((overlay / "upper/dir/sub/b").stat().st_mode) == 0o600


def test_delete_leaves_a_whiteout(overlay):
    os.unlink(overlay / "merged/file")
    assert sorted(os.listdir(overlay / "merged")) == ["dir"]
    info = (overlay / "upper/file").lstat()
    assert stat.S_ISCHR(info.st_mode) and info.st_rdev == 0
    (overlay / "merged/file").write_text("again")
    assert (overlay / "merged/file").read_text() == "again"


def test_delete_and_remake_a_directory(overlay):
    subprocess.run(["rm", "-r", overlay / "merged/dir"], check=True)
    (overlay / "merged/dir").mkdir()
    assert os.listdir(overlay / "merged/dir") == []
    assert os.getxattr(overlay / "upper/dir", "trusted.overlay.opaque") == b"y"


def test_rename(overlay):
    os.rename(overlay / "merged/file", overlay / "merged/dir/file")
    assert (overlay / "merged/dir/file").read_text() == "lower"
    assert not (overlay / "merged/file").exists()
    (overlay / "merged/d1").mkdir()
    os.rename(overlay / "merged/d1", overlay / "merged/d2")
    (overlay / "merged/x").write_text("x")
    (overlay / "merged/y").write_text("y")
    renameat2(overlay / "merged/x", overlay / "merged/y", RENAME_EXCHANGE)
    assert (overlay / "merged/x").read_text() == "y"


def test_links_and_listing(overlay):
    os.link(overlay / "merged/file", overlay / "merged/link")
    assert sorted(os.listdir(overlay / "merged")) == ["dir", "file", "link"]
    for i in range(300):
        (overlay / f"merged/dir/{i}").touch()
    assert len(os.listdir(overlay / "merged/dir")) == 302
    with fails("ENOTEMPTY"):
        os.rmdir(overlay / "merged/dir")


def test_tmpfile(overlay):
    fd = os.open(overlay / "merged", os.O_TMPFILE | os.O_RDWR)
    os.write(fd, b"x")
    os.close(fd)
