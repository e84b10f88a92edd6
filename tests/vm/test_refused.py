# SPDX-License-Identifier: BSD-3-Clause
"""Devices that cannot hold a pool are refused, with the command that helps."""

import pytest

from guest import MAKE_NAMESPACE

DEVICE = "/dev/dax0.0"


@pytest.fixture(scope="module")
def other_guest(make_guest, tmp_path_factory):
    """A guest of its own: what is done to its device cannot be undone."""
    with make_guest(tmp_path_factory.mktemp("refused")) as machine:
        yield machine


def test_small_alignment(other_guest):
    other_guest.run(MAKE_NAMESPACE.replace("2M", "4K"))
    result = other_guest.try_run(f"mkfs.daxfuse {DEVICE}")
    assert result.status == 8
    assert "align" in result.stderr
    assert "ndctl create-namespace" in result.stderr


def test_system_ram(other_guest):
    other_guest.run(f"""{MAKE_NAMESPACE}
        echo offline > /sys/devices/system/memory/auto_online_blocks
        daxctl reconfigure-device --no-online -m system-ram dax0.0""")
    for command, status in ((f"mkfs.daxfuse {DEVICE}", 8), (f"daxfuse {DEVICE} /mnt", 32)):
        result = other_guest.try_run(command)
        assert result.status == status, result
        assert "system-ram" in result.stderr
        assert "daxctl reconfigure-device" in result.stderr
    assert '"mode":"system-ram"' in other_guest.run("daxfuse list").replace(" ", "")
