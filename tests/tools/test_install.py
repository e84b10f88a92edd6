# SPDX-License-Identifier: BSD-3-Clause
"""What `cmake --install` leaves, and that it works from there."""

import os
import re
import shutil
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
    pages = {path.name: path for path in (installed / "share/man").glob("man*/*")}
    assert {"daxfuse.8", "mkfs.daxfuse.8", "fsck.daxfuse.8", "daxfuse.service.5", "daxmap.3"} <= set(pages)
    for page in pages.values():
        source = re.fullmatch(r"\.so (.*)\n", page.read_text())
        done = subprocess.run(["man", "--warnings", "-l", page.parents[1] / source[1] if source else page],
                              capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"})
        assert done.returncode == 0 and done.stderr == ""


def test_udev_rule_is_valid(installed):
    rule = installed / "lib/udev/rules.d/95-daxfuse.rules"
    text = rule.read_text()
    assert 'TAG+="systemd"' in text and f'"{installed}/bin/daxfuse probe --udev' in text and "@" not in text


def test_unit_is_valid(installed):
    """It says where this installation has things (tests/service has it run)."""
    unit = (installed / "lib/systemd/system/daxfuse@.service").read_text()
    for name in ("bin/daxfuse", "libexec/daxfuse/stop"):
        assert f"={installed}/{name} " in unit and os.access(installed / name, os.X_OK)
    for device in ("/dev/fuse", "char-dax", "/dev/daxview"):
        assert f"DeviceAllow={device} rw" in unit
    stop = (installed / "libexec/daxfuse/stop").read_text()
    assert f"daxfuse={installed}/bin/daxfuse\n" in stop
    assert os.access(installed / "lib/systemd/system-generators/daxfuse-generator", os.X_OK)


def test_completion_is_found_by_name(installed):
    folder = installed / "share/bash-completion/completions"
    assert {path.name for path in folder.iterdir()} == {"daxfuse", "mkfs.daxfuse", "fsck.daxfuse"}


def test_units_of_the_volume_plugin(installed):
    units = installed / "lib/systemd/system"
    service = (units / "daxfuse-volumes.service").read_text()
    assert "@BINDIR" not in service and "/daxfuse volumes --pool ${POOL}" in service
    socket = (units / "daxfuse-volumes.socket").read_text()
    assert "Before=docker.service" in socket and "SocketMode=0600" in socket


def test_units_of_metrics(installed):
    units = installed / "lib/systemd/system"
    service = (units / "daxfuse-metrics.service").read_text()
    (start,) = re.findall("^ExecStart=(.*)", service, re.M)
    assert start.endswith("/bin/daxfuse status --prometheus --output ${TEXTFILES}/daxfuse.prom")
    assert (units / "daxfuse-metrics.timer").exists()


def test_the_volume_plugin_is_found(installed):
    said = subprocess.run([installed / "bin/daxfuse", "volumes", "--version"], capture_output=True, text=True)
    assert said.stdout.startswith("daxfuse volumes ")


CLIENT = """
#include <daxfuse/ioctl.h>
#include <daxfuse/direct.h>
#include <daxfuse/daxmap.h>
int main(void)
{
	struct dxf_ioc_map map;
	struct direct_message hello;
	hello.kind = DIRECT_HELLO;
	hello.version = DIRECT_VERSION;
	return sizeof(map) == _IOC_SIZE(DXF_IOC_MAP) && hello.kind == 1 ? 0 : 1;
}
"""


@pytest.mark.parametrize("compiler", [["gcc", "-xc", "-std=gnu11"], ["g++", "-xc++", "-std=gnu++11"]],
                         ids=["c", "c++"])
def test_a_client_is_written_from_the_headers(installed, tmp_path, compiler):
    """With nothing of the source tree, and without a warning; and it has what ioctl.h says."""
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"there is no {compiler[0]}")
    subprocess.run([*compiler, "-Wall", "-Wextra", "-Werror", "-pedantic", "-I", installed / "include",
                    "-o", tmp_path / "client", "-"], input=CLIENT, text=True, check=True)
    subprocess.run([tmp_path / "client"], check=True)


def test_headers_have_the_lengths_of_every_struct(installed):
    """A struct of the protocol that somebody adds says how long it is."""
    for name in ("ioctl.h", "direct.h"):
        text = (installed / "include/daxfuse" / name).read_text()
        structs = set(re.findall(r"^struct (\w+) \{", text, re.M))
        asserted = set(re.findall(r"DXF_LENGTH\((\w+), \d+\)", text))
        asserted |= set(re.findall(r"sizeof\(struct (\w+)\) ==", text))
        assert structs and structs <= asserted, name
