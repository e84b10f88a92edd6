# SPDX-License-Identifier: BSD-3-Clause
"""What `cmake --install` leaves, and that it works from there."""

import os
import subprocess

import pytest


@pytest.fixture(scope="module")
def installed(bin_dir, tmp_path_factory):
    prefix = tmp_path_factory.mktemp("installed") / "usr"
    subprocess.run(["cmake", "--install", bin_dir.parent, "--prefix", prefix],
                   check=True, capture_output=True)
    return prefix


def test_programs(installed):
    for name in ("bin/daxfuse", "sbin/mkfs.daxfuse", "sbin/fsck.daxfuse"):
        subprocess.run([installed / name, "--version"], check=True, capture_output=True)


def test_mount_helpers_lead_to_the_daemon(installed):
    for name in ("mount.daxfuse", "mount.fuse.daxfuse"):
        assert (installed / "sbin" / name).resolve() == (installed / "bin/daxfuse").resolve()
        assert (installed / "sbin" / name).is_symlink()


def test_man_pages(installed):
    pages = {path.name for path in (installed / "share/man/man8").iterdir()}
    assert pages == {"daxfuse.8", "mkfs.daxfuse.8", "fsck.daxfuse.8"}
    for page in pages:
        done = subprocess.run(["man", "--warnings", "-l", installed / "share/man/man8" / page],
                              capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"})
        assert done.returncode == 0 and done.stderr == ""


def test_udev_rule_is_valid(installed):
    rule = installed / "lib/udev/rules.d/95-daxfuse.rules"
    text = rule.read_text()
    assert 'TAG+="systemd"' in text and "/daxfuse probe --udev" in text and "@" not in text


def test_unit_is_valid(installed):
    unit = (installed / "lib/systemd/system/daxfuse@.service").read_text()
    assert "@CMAKE" not in unit
    assert "umount --wait" in unit
