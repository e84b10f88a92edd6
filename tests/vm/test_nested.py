# SPDX-License-Identifier: BSD-3-Clause
"""A guest in a guest, the outer one with a real device-dax (inner.py). Minutes: tests/run --nested runs it."""

import os
import shutil
import subprocess

import pytest

import guest as vm

pytestmark = pytest.mark.skipif("DAXFUSE_NESTED" not in os.environ, reason="takes minutes: tests/run --nested")

MEMORY = 4096
LIMIT = 3600  # seconds
LEFT_OUT = shutil.ignore_patterns("doc", "man", "locale", "*-i386", "*-microvm")


@pytest.fixture
def emulator(tmp_path):
    """A disk with QEMU 11, and what it boots."""
    words, cache = vm.qemu_with_windows(), vm.cache_folder()
    qemu = vm.cache_folder().parent / "qemu"
    tree = tmp_path / "emulator"
    shutil.copytree(qemu, tree, symlinks=True, ignore=LEFT_OUT)
    for name in ("vmlinuz", "initrd.img"):
        shutil.copyfile(cache / name, tree / name)
    (tree / "command").write_text("".join(f"{word.replace(str(qemu), '/run/emulator')}\n" for word in words))
    disk = tmp_path / "emulator.img"
    subprocess.run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", tree, disk, "256M"], check=True)
    shutil.rmtree(tree)
    return disk


def test_nested(make_guest, emulator, tmp_path):
    with make_guest(tmp_path, disks=[emulator], memory=MEMORY) as machine:
        machine.run(f"{vm.MAKE_NAMESPACE}\nmkdir /run/emulator; mount -o ro /dev/vdc /run/emulator")
        # what is said, as it is said: acks.log
        result = machine.try_run("set -o pipefail; cd /daxfuse/tests; export DAXFUSE_DEVICE=/dev/dax0.0 "
                                 "DAXFUSE_BIN=/daxfuse/bin DAXFUSE_EMULATOR=/run/emulator\n"
                                 "python3 -u -m pytest -v -p no:cacheprovider --tb=short --durations=0 -rP "
                                 "vm/inner.py | tee /run/port/acks", limit=LIMIT)
        print(result.stdout)
        assert result.status == 0, result.stdout[-20000:] + result.stderr
        assert " passed" in result.stdout
