# SPDX-License-Identifier: BSD-3-Clause
"""A guest with a DAX window: its kernel maps the host's pool, in huge pages, through QEMU 11."""

import json
import re
import shutil
import subprocess
import time

import pytest

from support.pool import MIB, Pool

UNIT = 2 * MIB
WINDOW = 32 * MIB
# What differs for a guest with a window: each read and write goes through it, each mapping is one of it.
FUNCTIONAL = {
    "test_files.py": "dax and (growing or overwrites or append)",
    "test_unlinked.py": "not space and not killed",
}
TOUCH = """
import mmap, os, resource, sys
fd = os.open(sys.argv[1], os.O_RDWR)
size = os.fstat(fd).st_size
m = mmap.mmap(fd, size)
def faults(touch):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for at in range(0, size, 4096):
        touch(at)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(lambda at: m[at]), faults(lambda at: m.__setitem__(at, 7)))
m.flush()
"""
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
    """A pool of the host, mounted."""
    pool = Pool(bin_dir, huge_dir / "windowed", size=768 * MIB)
    pool.mount()
    (pool.point / "shared").mkdir(mode=0o755)
    yield pool
    try:
        pool.close()
    finally:
        pool.abandon()
        shutil.rmtree(pool.folder)


@pytest.fixture(scope="module")
def shared(host):
    """The directory that is exported."""
    return host.point / "shared"


@pytest.fixture(scope="module")
def machine(host, make_guest, tmp_path_factory):
    """A guest that has mounted it on /run/pool, and may map all files."""
    path = host.folder / "socket"
    host.run("daxfuse", "export", "--socket", path, "--tag", "pool", "--subdir", "shared", "--window", WINDOW,
             host.point)
    with make_guest(tmp_path_factory.mktemp("window"), exports={"pool": path}, windows=True) as guest:
        guest.run("mkdir -p /run/pool; mount -t virtiofs -o dax=always pool /run/pool")
        guest.run(f"cat > /run/touch.py <<'END'\n{TOUCH}\nEND\ncat > /run/reader.py <<'END'\n{READER}\nEND")
        yield guest
    host.run("daxfuse", "export", "--remove", "--socket", path, host.point)


def window_of(host):
    [export] = json.loads(host.run("daxfuse", "status", host.point))["exports"]
    return export["window"]


def pieces_of(machine, host):
    """What QEMU has mapped of the pool: the lines of /proc/PID/smaps of each."""
    text = open(f"/proc/{machine.pid}/smaps").read()
    return re.findall(rf"^[0-9a-f-]+ rw-s .*{re.escape(str(host.image))}\n((?:\w+:.*\n)+)", text, re.M)


def test_huge_pages_on_both_sides(machine, host, shared):
    """16 MiB are 8 faults in the guest (and some of python's own), not 4096; the VMM maps them in huge pages."""
    machine.run("dd if=/dev/zero of=/run/pool/f bs=1M count=16 status=none")
    for faults in machine.run("python3 /run/touch.py /run/pool/f").split():
        assert 8 <= int(faults) < 64
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


@pytest.mark.parametrize("file", FUNCTIONAL)
def test_functional(machine, file):
    """The tests of the host's mount, in the guest."""
    result = machine.try_run(f"cd /daxfuse/tests && DAXFUSE_FOLDER=/run/pool DAXFUSE_BIN=/daxfuse/bin "
                             f"python3 -m pytest -q -p no:cacheprovider --tb=short functional/{file} "
                             f"-k '{FUNCTIONAL[file]}'")
    assert result.status == 0, result.stdout[-5000:] + result.stderr
    assert " passed" in result.stdout


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
    machine.run("rm /run/pool/large /run/pool/small")


def test_the_guest_is_killed(machine, host, shared):
    """SIGKILL of QEMU while its guest stores: nothing stays in the window, and the host goes on."""
    machine.run("cd /run/pool; dd if=/dev/zero of=f bs=1M count=8 status=none; cat f > /dev/null")
    machine.kill()
    end = time.monotonic() + 120
    while window_of(host)["units"] and time.monotonic() < end:
        time.sleep(0.1)
    assert window_of(host)["units"] == 0 and not window_of(host)["usable"]
    (shared / "f").unlink()
