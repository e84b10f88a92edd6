# SPDX-License-Identifier: BSD-3-Clause
"""
Run in the guest (by test_nested.py): a guest in the guest, by QEMU 11, which maps the device-dax of the outer
one through a DAX window.
"""

import json
import os
import re
import time
from pathlib import Path

import pytest

from guest import Guest
from support.pool import MIB
from virtiofs import export_of, exported, host_pool, run_sides

UNIT = 2 * MIB
WINDOW = 64 * MIB
SIZE = 16 * MIB
LIMIT = 3000  # seconds, for what hangs: emulation in emulation is slow


@pytest.fixture(scope="module")
def host(bin_dir, tmp_path_factory):
    """The pool of the outer guest, mounted."""
    folder = tmp_path_factory.mktemp("pool") / "p"
    with host_pool(bin_dir, folder, device=os.environ["DAXFUSE_DEVICE"]) as pool:
        yield pool


@pytest.fixture(scope="module")
def machine(host, tmp_path_factory):
    """The inner guest. Its root and its payload are the outer one's."""
    cache = Path(os.environ["DAXFUSE_EMULATOR"])
    emulator = (cache / "command").read_text().splitlines()
    with (exported(host, "--window", WINDOW) as path,
          Guest(tmp_path_factory.mktemp("inner"), None, "/dev/vdb", exports={"pool": path}, root="/dev/vda",
                windows=True, memory=512, cpus=1, cache=cache, emulator=emulator, limit=LIMIT) as guest):
        guest.run("mkdir -p /run/pool; mount -t virtiofs -o dax=always pool /run/pool")
        yield guest


def pieces_of(machine, device):
    """What the inner QEMU has mapped of the device: the kernel's page size of each piece."""
    text = Path(f"/proc/{machine.pid}/smaps").read_text()
    pieces = re.findall(rf"^[0-9a-f-]+ rw-s .*{device}\n((?:\w+:.*\n)+)", text, re.M)
    return [re.search(r"KernelPageSize:\s+(\d+) kB", piece)[1] for piece in pieces]


def test_huge_pages_all_the_way(machine, host):
    """What a program in the inner guest touches are units of the device, in huge pages on each level."""
    machine.run(f"head -c {SIZE} /dev/zero > /run/pool/f")
    [found] = json.loads(machine.run("python3 /daxfuse/tests/vm/touch.py /run/pool/f"))
    sizes, window = pieces_of(machine, host.image), export_of(host)["window"]
    print(f"{SIZE} bytes: {found}, KernelPageSize of {len(sizes)} pieces: {set(sizes)}, {window}")
    assert found["dax"] and all(SIZE // UNIT <= found[how] < 64 for how in ("loads", "stores"))
    assert len(sizes) >= SIZE // UNIT and set(sizes) == {"2048"} and window["refused"] == 0
    assert set((host.point / "shared/f").read_bytes()[::4096]) == {7}


def test_stores_of_both_sides(machine, host, bin_dir):
    run_sides(bin_dir / "sides", host, [machine], 4 * UNIT, slots=100, rounds=20)


def test_programs(machine, host):
    """That map what they have, with names that come and go."""
    assert machine.run("""cd /run/pool; cp /usr/bin/busybox .; ./busybox echo executed; rm busybox
        sqlite3 db 'pragma journal_mode=wal; create table t(x); insert into t values (7)' > /dev/null
        sqlite3 db 'pragma integrity_check; select sum(x) from t'""", limit=LIMIT) == "executed\nok\n7\n"
    assert (host.point / "shared/db").stat().st_size > 0


def test_the_inner_guest_is_killed(machine, host):
    """All units of the device come back."""
    machine.kill()
    end = time.monotonic() + LIMIT
    while export_of(host)["window"]["units"] and time.monotonic() < end:
        time.sleep(0.5)
    assert export_of(host)["window"]["units"] == 0
    assert host.point.joinpath("shared/f").read_bytes()[:1] == b"\7"
