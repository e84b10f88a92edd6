# SPDX-License-Identifier: BSD-3-Clause
"""contrib/qemu: what users are told to start is what is tested."""

import os
import re
import shutil
import socket
import subprocess
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

CONTRIB = Path(__file__).resolve().parents[2] / "contrib/qemu"
NAMESPACE = "{http://libvirt.org/schemas/domain/qemu/1.0}"


def device_of(text):
    """The window's device, without its names and its place."""
    [words] = re.findall(r"vhost-user-test-device-pci,(chardev=[\w=,.-]+)", 
                         text.replace("$device", "vhost-user-test-device-pci"))
    return {word for word in words.split(",") if not word.startswith(("chardev=", "bus=", "addr="))}


def test_one_device_everywhere():
    domain = xml.parse(CONTRIB / "guest.xml").getroot()
    arguments = [each.get("value") for each in domain.iter(f"{NAMESPACE}arg")]
    wanted = device_of((CONTRIB / "run").read_text())
    assert wanted and device_of(arguments[3]) == wanted
    assert device_of((CONTRIB.parents[1] / "docs/guide/guests.md").read_text()) == wanted
    assert domain.find("memoryBacking/access").get("mode") == "shared"
    assert [each.get("name") for each in domain.iter(f"{NAMESPACE}env")] == ["LD_PRELOAD"]


@pytest.mark.skipif(not shutil.which("virt-xml-validate"), reason="libvirt's schemas are not installed")
def test_the_xml_is_valid():
    subprocess.run(["virt-xml-validate", CONTRIB / "guest.xml", "domain"], check=True)


@pytest.fixture
def start(tmp_path):
    """start(emulator's script, socket) -> what contrib/qemu/run comes to."""
    emulator = tmp_path / "emulator"

    def run(script, path):
        emulator.write_text(f"#!/bin/sh\n{script}\n")
        emulator.chmod(0o755)
        return subprocess.run([CONTRIB / "run", path, "1G", "-more"], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=120,
                              env={**os.environ, "QEMU": str(emulator), "XDG_CACHE_HOME": str(tmp_path / "cache")})

    return run


@pytest.fixture
def listening(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        yield tmp_path / "socket"


def test_what_is_missing_is_said(start, listening, tmp_path):
    assert "is no socket" in start("exit 0", tmp_path / "nothing").stderr
    for old in ("echo not found >&2; exit 0", "exit 1"):
        done = start(old, listening)
        assert done.returncode == 1 and "QEMU 11.1 or newer" in done.stderr


def test_the_launcher(start, listening, tmp_path):
    """It becomes the emulator, with the library; which is made once."""
    for _ in range(2):
        done = start('case "$*" in *,help) echo "vhost-user-test-device-pci options:" ;; '
                     '*) echo "$LD_PRELOAD $*" ;; esac', listening)
        assert done.returncode == 0 and done.stderr == ""
        library, words = done.stdout.split(" ", 1)
        assert library == str(tmp_path / "cache/daxfuse/align.so") and Path(library).exists()
        assert f"path={listening}" in words and "size=1G,share=on" in words and words.endswith(" -more\n")
