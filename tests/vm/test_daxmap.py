# SPDX-License-Identifier: BSD-3-Clause
"""Programs map a real /dev/dax0.0, which knows whole units only (tests/daxmap/program.c)."""

import re
from pathlib import Path

import pytest

DEVICE = "/dev/dax0.0"
PROGRAM = Path(__file__).resolve().parents[1] / "daxmap" / "program.c"
SCENARIOS = [name for name in re.findall(r'{ "(\w+)", (?:\w+) }', PROGRAM.read_text())
             if name not in ("steps", "outlives_mount")]
FILE = r"""
import struct
with open("/mnt/file", "wb") as file:
    for at in range(0, 8 << 20, 4096):
        file.write(struct.pack("<Q", at).ljust(4096, b"\0"))
"""


@pytest.fixture(scope="module")
def mounted(guest):
    guest.run(f"mkfs.daxfuse -q -f {DEVICE}; daxfuse {DEVICE} /mnt -o dax=always")
    yield guest
    guest.run("daxfuse umount --wait /mnt")
    guest.run(f"fsck.daxfuse -n {DEVICE}")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(mounted, scenario):
    mounted.run(f"rm -f /mnt/file; python3 -c '{FILE}'")
    done = mounted.try_run(f"daxfuse run -v -- daxmap-program {scenario} /mnt/file", limit=120)
    wanted = {"dies_of_sigbus": 128 + 7, "dies_of_sigsegv": 128 + 11}.get(scenario, 0)
    assert done.status == wanted, repr(done)
    if scenario in ("simple", "forks", "protection"):
        assert "huge 8388608 pages 0" in done.stderr, repr(done)


def test_short_file(mounted):
    """A file of some pages is a whole unit in memory; what lies behind its end is nobody's."""
    script = """
import mmap, os
fd = os.open("/mnt/short", os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b"x" * 5000, 0)
memory = mmap.mmap(fd, 5000)
assert memory[:] == b"x" * 5000
memory[4999] = 121
memory.flush()
print(os.pread(fd, 2, 4998))
memory.close()
"""
    done = mounted.try_run(f"daxfuse run -v -- python3 -c '{script}'")
    assert done.stdout == "b'xy'\n", repr(done)
    assert "huge 2097152" in done.stderr, repr(done)
