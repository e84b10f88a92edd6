# SPDX-License-Identifier: BSD-3-Clause
"""A guest with a DAX window: its kernel maps the host's pool, in huge pages, through QEMU 11."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from support.pool import MIB
from support.syscalls import XFLAG_DAX, set_xflags
from virtiofs import export_of, exported, host_pool, run_functional, run_limits, run_sides

ROOT = Path(__file__).resolve().parents[2]
UNIT = 2 * MIB
WINDOW = 32 * MIB
# What differs for a guest with a window: each read and write goes through it, each mapping is one of it.
FUNCTIONAL = {
    "test_files": "dax and (growing or overwrites or append)",
    "test_unlinked": "not space and not killed",
    "test_mmap": "dax and not msync_is_durable and not mtime",
    "test_programs": "sqlite and dax",
}
TOUCH = "python3 /daxfuse/tests/vm/touch.py"
READER = """
import mmap, os, random, sys
fd, order = os.open(sys.argv[1], os.O_RDONLY), list(range(int(sys.argv[2])))
m = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
if sys.argv[3] == "random":
    random.Random(1).shuffle(order)
for i in order:
    at = i * (2 << 20)
    assert m[at] == m[at + (2 << 20) - 1] == i % 250 + 1, i
    assert os.pread(fd, 1, at + 4096) == bytes([i % 250 + 1]), i
print("read", len(order))
"""


@pytest.fixture(scope="module")
def host(bin_dir, huge_dir):
    with host_pool(bin_dir, huge_dir / "windowed", size=768 * MIB) as pool:
        yield pool


@pytest.fixture(scope="module")
def choosy(bin_dir, huge_dir):
    """Another one, whose files are mapped when they say so."""
    with host_pool(bin_dir, huge_dir / "choosy", "dax=inode") as pool:
        yield pool


@pytest.fixture(scope="module")
def shared(host):
    """The directory that is exported."""
    return host.point / "shared"


def mount(guest, options="", tag="pool"):
    guest.run(f"mkdir -p /run/pool; mount -t virtiofs {options} {tag} /run/pool")


@pytest.fixture(scope="module")
def machine(host, choosy, make_guest, tmp_path_factory):
    """A guest that has mounted it on /run/pool, and may map all files; and knows of the other pool."""
    with (exported(host, "--window", WINDOW) as pool, exported(choosy, "--window", WINDOW, tag="choosy") as other,
          make_guest(tmp_path_factory.mktemp("window"), exports={"pool": pool, "choosy": other},
                     windows=True) as guest):
        mount(guest, "-o dax=always")
        guest.run(f"cat > /run/reader.py <<'END'\n{READER}\nEND")
        yield guest


def window_of(host):
    return export_of(host)["window"]


def touch(machine, *paths):
    return json.loads(machine.run(f"{TOUCH} {' '.join(paths)}"))


def pieces_of(machine, host):
    """What QEMU has mapped of the pool: the lines of /proc/PID/smaps of each."""
    text = open(f"/proc/{machine.pid}/smaps").read()
    return re.findall(rf"^[0-9a-f-]+ rw-s .*{re.escape(str(host.image))}\n((?:\w+:.*\n)+)", text, re.M)


def test_huge_pages_on_both_sides(machine, host, shared):
    """16 MiB are 8 faults in the guest (and some of python's own), not 4096; the VMM maps them in huge pages."""
    machine.run("dd if=/dev/zero of=/run/pool/f bs=1M count=16 status=none")
    [found] = touch(machine, "/run/pool/f")
    assert found["dax"] and all(8 <= found[how] < 64 for how in ("loads", "stores"))
    assert set((shared / "f").read_bytes()[::4096]) == {7}
    found = window_of(host)
    assert found["usable"] and found["units"] >= 8 and found["upgraded"] + found["mapped"] >= 8
    assert found["refused"] == 0
    pieces = pieces_of(machine, host)
    assert len(pieces) >= 8
    if subprocess.run(["findmnt", "-n", "-o", "OPTIONS", "-T", host.folder], capture_output=True,
                      text=True).stdout.find("huge=always") >= 0:
        assert any(re.search(r"ShmemPmdMapped:\s+2048 kB", piece) for piece in pieces)
    machine.run("rm /run/pool/f")


def test_both_sides_at_once(machine, shared):
    """Files that are truncated and written anew by one side while the other one has them mapped."""
    for size in (300_000, 3 * UNIT + 5, 40):
        text = bytes((i * size) % 251 for i in range(size))
        (shared / "f").write_bytes(text)
        assert machine.run("sleep 1.1; md5sum < /run/pool/f") == subprocess.run(
            ["md5sum"], input=text, capture_output=True).stdout.decode()
        machine.run(f"head -c {size // 2 + 3} /dev/zero | tr '\\0' g > /run/pool/f")
        assert (shared / "f").read_bytes() == b"g" * (size // 2 + 3)
    machine.run("rm /run/pool/f")


@pytest.mark.parametrize("option", ["always", "inode", "never"])
@pytest.mark.parametrize("tag", ["pool", "choosy"])
def test_which_files_are_mapped(machine, host, choosy, tag, option):
    """By each of the guest's options, of a host mount with dax=auto and one with dax=inode: what stat says in
    the guest is how it is mapped."""
    side = {"pool": host, "choosy": choosy}[tag]
    for name, size in (("small", UNIT // 2), ("large", 4 * UNIT), ("flagged", 4 * UNIT)):
        (side.point / "shared" / name).write_bytes(bytes(size))
    set_xflags(side.point / "shared/flagged", XFLAG_DAX)
    wanted = {"always": {"small", "large", "flagged"}, "inode": {"large", "flagged"}, "never": set()}[option]
    if tag == "choosy":  # does not let others be mapped, whatever the guest says
        wanted &= {"flagged"}
    machine.run("umount /run/pool")
    mount(machine, f"-o dax={option}", tag)
    before = window_of(side)["mapped"]
    names = ["flagged"] if (tag, option) == ("choosy", "always") else ["flagged", "small", "large"]
    for name, found in zip(names, touch(machine, *(f"/run/pool/{name}" for name in names))):
        assert found["dax"] == (name in wanted), (name, found)
        if name != "small":
            assert found["stores"] < 64 if name in wanted else found["stores"] > 500, (name, found)
    assert (window_of(side)["mapped"] > before) == bool(wanted)
    machine.run("rm /run/pool/*; umount /run/pool")
    mount(machine, "-o dax=always")


@pytest.mark.parametrize("size, slots, rounds", [(8 * MIB, 1000, 100), (WINDOW + 16 * MIB, 96, 4)])
def test_stores_of_both_sides(machine, host, sides, size, slots, rounds):
    """Also in a file that is larger than the window, pieces of which come and go."""
    run_sides(sides, host, [machine], size, slots, rounds)


@pytest.fixture(scope="module")
def other(host, make_guest, tmp_path_factory):
    """One more guest, with a window of its own, started as users are told to."""
    with (exported(host, "--window", WINDOW, tag="other", name="other") as path,
          make_guest(tmp_path_factory.mktemp("other"), exports={"other": path}, windows=True,
                     launcher=ROOT / "contrib/qemu/run") as guest):
        mount(guest, "-o dax=always", "other")
        yield guest


def test_stores_of_two_guests_and_the_host(machine, other, host, sides):
    run_sides(sides, host, [machine, other], 8 * MIB, 1000, 100)


def test_a_file_of_sixteen_windows(machine, shared):
    """Read by two at once, in order and at random: it makes progress."""
    units = 16 * WINDOW // UNIT
    with open(shared / "large", "wb") as file:
        for i in range(units):
            file.write(bytes([i % 250 + 1]) * UNIT)
    said = machine.run(f"cd /run; for order in order random; do python3 reader.py pool/large {units} $order & done; "
                       "wait", limit=400)
    assert said == f"read {units}\n" * 2
    machine.run("rm /run/pool/large")


def test_programs(machine, shared):
    """Executed from there, sqlite with a log that is mapped, git, fio that verifies what it mapped and wrote."""
    assert machine.run("""
        cd /run/pool; cp /usr/bin/busybox .; ./busybox echo executed; rm busybox
        sqlite3 db 'pragma journal_mode=wal; create table t(x); insert into t values (7)' > /dev/null
        for i in $(seq 20); do sqlite3 db "insert into t values ($i)"; done
        sqlite3 db 'pragma integrity_check; select sum(x) from t'; rm -f db db-wal db-shm
        export HOME=/run; git init -q repository; cd repository; git config user.email a@b; git config user.name a
        for i in 1 2 3; do seq $i 2000 > f$i; git add .; git commit -qm $i; done
        git gc -q; git fsck --full 2>&1; git log --oneline | wc -l; cd ..; rm -rf repository
        fio --name=x --directory=. --ioengine=mmap --rw=randwrite --bs=4k --size=8M --verify=crc32c --do_verify=1 \
            --fsync=100 --output=/dev/null && echo verified; rm -f x.* *verify.state""") == \
        "executed\nok\n217\n3\nverified\n"
    assert list(shared.iterdir()) == []


def test_functional(machine):
    run_functional(machine, FUNCTIONAL)


def test_limits(machine, host):
    run_limits(machine, host, "SIGBUS", "SIGBUS")


def test_stop_and_go_on(machine, host, shared):
    """The VMM stops the device, and continues, with another daemon at the other end: what is mapped is there."""
    machine.run("dd if=/dev/urandom of=/run/pool/f bs=1M count=24 status=none")
    before = machine.run("md5sum < /run/pool/f")
    machine.qmp("stop")
    host.run("daxfuse", "restart", host.point)
    machine.qmp("cont")
    assert machine.run("md5sum < /run/pool/f") == before
    assert machine.run("echo more >> /run/pool/f; tail -c 5 /run/pool/f") == "more\n"
    assert (shared / "f").stat().st_size == 24 * MIB + 5
    machine.run("rm /run/pool/f")


def test_unmounting(machine, host):
    """Empties the window, and mounting it again, for chosen files, fills it."""
    machine.run("cd /; umount /run/pool; mount -t virtiofs pool /run/pool")
    assert window_of(host)["units"] == 0
    machine.run("""cd /run/pool; dd if=/dev/zero of=large bs=1M count=4 status=none; echo small > small
        cd /; umount /run/pool; mount -t virtiofs pool /run/pool; cat /run/pool/large /run/pool/small > /dev/null""")
    assert window_of(host)["units"] == 2
    machine.run("rm /run/pool/large /run/pool/small; umount /run/pool")
    mount(machine, "-o dax=always")


def test_rebooting(machine, host, shared):
    """In order, in the same QEMU: the window is emptied, and filled anew."""
    machine.run("cd /run/pool; dd if=/dev/zero of=f bs=1M count=8 status=none; cd /; umount /run/pool")
    machine.reset()
    assert window_of(host)["units"] == 0
    mount(machine, "-o dax=always")
    [found] = touch(machine, "/run/pool/f")
    assert found["dax"] and found["stores"] < 64 and window_of(host)["units"] == 4
    assert set((shared / "f").read_bytes()[::4096]) == {7}
    machine.run("rm /run/pool/f")


def has_units(host, wanted):
    """Given time: whether the window has any."""
    end = time.monotonic() + 120
    while bool(window_of(host)["units"]) != wanted and time.monotonic() < end:
        time.sleep(0.1)
    return bool(window_of(host)["units"])


def test_the_guest_is_killed(machine, host, shared):
    """SIGKILL of QEMU while its guest stores: nothing stays in the window, and the host goes on."""
    machine.run("""cd /run/pool; dd if=/dev/zero of=f bs=1M count=8 status=none
        (while :; do dd if=/dev/urandom of=f bs=64k count=128 conv=notrunc; done) > /dev/null 2>&1 < /dev/null &""")
    assert has_units(host, True)
    machine.kill()
    assert not has_units(host, False) and not window_of(host)["usable"]
    (shared / "f").unlink()
