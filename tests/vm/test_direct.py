# SPDX-License-Identifier: BSD-3-Clause
"""Direct mappings on a real /dev/dax0.0: what they save, and what must hold (mapped.py)."""

import re

import pytest

DEVICE = "/dev/dax0.0"
MIB = 64
UNITS, PAGES = MIB // 2, MIB * 256


@pytest.fixture
def mounted(guest):
    guest.run(f"mkfs.daxfuse -q -f {DEVICE}; daxfuse {DEVICE} /mnt -o dax=always")
    yield guest
    guest.run("daxfuse umount --wait /mnt")
    guest.run(f"fsck.daxfuse -n {DEVICE}")


def touch(guest, command):
    """(page faults, MiB mapped in huge pages) of a program that touches each page of a file."""
    said = guest.run(f"fallocate -l {MIB}M /mnt/file; {command} /mnt/file; rm /mnt/file")
    found = re.fullmatch(rf"{MIB} MiB touched: (\d+) page faults, (\d+) MiB mapped in huge pages\n",
                         said)
    assert found, said
    return int(found[1]), int(found[2])


def test_an_unmodified_program(mounted):
    """One fault for each unit; the kernel's mapping of the same file has one for each page."""
    faults, huge = touch(mounted, "daxfuse run -- touch-pages")
    assert huge == MIB
    assert UNITS <= faults <= UNITS + 20
    faults, huge = touch(mounted, "touch-pages")
    assert huge == 0
    assert faults >= PAGES // 16  # whatever the kernel's page cache does in one go
    counters = mounted.run("daxfuse status /mnt")
    assert f'"huge": {UNITS},' in counters and '"page": 0,' in counters


def test_mapped(guest):
    """The checks that run in the guest."""
    result = guest.try_run(f"cd /daxfuse/tests && DAXFUSE_BIN=/daxfuse/bin DAXFUSE_DEVICE={DEVICE} "
                           "python3 -m pytest -q -p no:cacheprovider --tb=short vm/mapped.py")
    assert result.status == 0, result.stdout[-10000:]
    assert " passed" in result.stdout
