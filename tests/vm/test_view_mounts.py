# SPDX-License-Identifier: BSD-3-Clause
"""A mount with kernel views (-o views=on), in a guest with the module: programs that know nothing
of them map files of /dev/dax0.0 (tests/vm/viewed.c, tests/daxmap/program.c, functional tests).

After each test the kernel's log is read: a line that was not expected fails it."""

import json
import re
import subprocess
from pathlib import Path

import pytest

import guest as vm
from test_daxmap import FILE
from test_views import MODULE, SLOW

TESTS = Path(__file__).resolve().parent
DEVICE = "/dev/dax0.0"
PROGRAMS = ("daxfuse", "mkfs.daxfuse", "fsck.daxfuse")
SCENARIOS = re.findall(r'{ "(\w+)", (?:\w+) }', (TESTS / "viewed.c").read_text())
# Of those that are not about the library. MADV_REMOVE, which some use, a view does not have.
PROGRAM = ("simple", "end_of_file", "dies_of_sigbus", "protection", "holes", "forks", "remaps",
           "closes_all", "system_calls", "threads", "private_mapping")
FUNCTIONAL = {
    "test_mmap.py": "dax",
    "test_files.py": "dax and (growing or overwrites or append)",
    "test_sparse.py": "dax and (scattered or backwards)",
    "test_unlinked.py": "test",
}
HOLD = """
import mmap, os, sys
fd = os.open("/mnt/file", os.O_RDWR | os.O_CREAT)
os.write(fd, b"l" * (8 << 20))
mapped = mmap.mmap(fd, 8 << 20)
mapped[0] = 109
print("mapped", flush=True)
sys.stdin.readline()
mapped[0] = 110
"""
TWO = """
import mmap, os, sys
os.setuid(int(sys.argv[1]))
try:
    fd = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT, 0o600)
except PermissionError:
    sys.exit(3)
os.ftruncate(fd, 4 << 20)
mapped = mmap.mmap(fd, 4 << 20)
mapped[5] = int(sys.argv[1]) % 256
assert mapped[:5] == bytes(5) and mapped[6:4096] == bytes(4090)
for path in ("/dev/dax0.0", "/dev/daxview"):
    try:
        os.open(path, os.O_RDWR)
        sys.exit(4)
    except PermissionError:
        pass
"""


@pytest.fixture(scope="module")
def viewing(modules, bin_dir, tmp_path_factory):
    """A guest with the module and the daemon."""
    folder = tmp_path_factory.mktemp("mounts")
    for name, source in (("viewed", "vm/viewed.c"), ("daxmap-program", "daxmap/program.c")):
        subprocess.run(["cc", "-O1", "-pthread", "-o", folder / name, TESTS.parent / source],
                       check=True)
    for name, text in (("hold.py", HOLD), ("two.py", TWO)):
        (folder / name).write_text(text)
    vm.make_payload(folder / "payload.tar",
                    [*(bin_dir / name for name in PROGRAMS), folder / "viewed",
                     folder / "daxmap-program"],
                    [(TESTS.parent, "/daxfuse/tests"), (folder / "hold.py", "/daxfuse/hold.py"),
                     (folder / "two.py", "/daxfuse/two.py"),
                     (modules / vm.kernel_version() / "daxview.ko", MODULE)])
    vm.make_nvdimm(folder / "nvdimm.img", 512)
    with vm.Guest(folder, folder / "nvdimm.img", folder / "payload.tar") as machine:
        machine.run(vm.MAKE_NAMESPACE + f"; insmod {MODULE}")
        yield machine


def status_of(guest):
    return json.loads(guest.run("daxfuse status /mnt"))


def check_log(guest):
    unexpected = [line for line in guest.run("dmesg").splitlines() if not re.search(SLOW, line)]
    assert unexpected == []


@pytest.fixture
def mounted(viewing):
    """A new pool with views; it must be whole afterwards, and no view be left in the kernel."""
    viewing.run(f"mkfs.daxfuse -q -f {DEVICE}; daxfuse {DEVICE} /mnt -o views=on; dmesg -C")
    assert status_of(viewing)["mount"]["views"] is True
    yield viewing
    viewing.run("daxfuse umount --wait /mnt")
    assert json.loads(viewing.run(f"fsck.daxfuse -n {DEVICE}"))["clean"]
    check_log(viewing)
    viewing.run(f"rmmod daxview; insmod {MODULE}")


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(mounted, name):
    done = mounted.try_run(f"timeout -s KILL 200 viewed {name} /mnt", limit=250)
    assert done.status == 0, repr(done)
    views = status_of(mounted)["views"]
    assert views["made"] > 0 and views["refused"] == 0


def test_a_view_ends(mounted):
    """When nobody has the file open or mapped any more; and only then."""
    mounted.run("""mkfifo /run/go; python3 /daxfuse/hold.py < /run/go > /run/said & exec 3> /run/go
        until grep -q mapped /run/said; do sleep 0.1; done
        daxfuse status /mnt | python3 -c \
            'import json, sys; assert json.load(sys.stdin)["views"]["now"] == 1'
        echo >&3; wait; rm /run/go /run/said""")
    for _ in range(100):
        if status_of(mounted)["views"]["now"] == 0:
            return
    pytest.fail(str(status_of(mounted)["views"]))


def test_programs_of_the_library(mounted):
    """What tests/daxmap runs with the library, without it; all maps 2 MiB where it can."""
    for name in PROGRAM:
        mounted.run(f"rm -f /mnt/file; python3 -c '{FILE}'")
        done = mounted.try_run(f"timeout -s KILL 100 daxmap-program {name} /mnt/file", limit=150)
        assert done.status == {"dies_of_sigbus": 128 + 7}.get(name, 0), f"{name}: {done!r}"
    counters = status_of(mounted)["mappings"]["counters"]
    assert counters["huge"] > 2 * len(PROGRAM)


def test_two_users(mounted):
    """A user's program reaches its file; neither the other user's nor the device."""
    mounted.run("""install -m 777 -d /mnt/both; cd /mnt/both
        python3 /daxfuse/two.py 1000 one; python3 /daxfuse/two.py 1001 two
        if python3 /daxfuse/two.py 1001 one; then exit 1; else test $? = 3; fi""")


@pytest.mark.parametrize("module", list(FUNCTIONAL))
def test_functional(viewing, module):
    viewing.run("dmesg -C")
    result = viewing.try_run(
        f"cd /daxfuse/tests && DAXFUSE_OPTIONS=views=auto DAXFUSE_BIN=/daxfuse/bin "
        f"DAXFUSE_DEVICE={DEVICE} python3 -m pytest -q -x -p no:cacheprovider functional/{module} "
        f"-k '({FUNCTIONAL[module]}) and not killed'", limit=900)
    assert result.status == 0, result.stdout[-5000:]
    check_log(viewing)


def test_without_the_module(viewing):
    """auto does without, and says why; on does not mount. Nor is there a keeper with views."""
    viewing.run("rmmod daxview; mkfs.daxfuse -q -f " + DEVICE)
    done = viewing.try_run(f"daxfuse {DEVICE} /mnt -o views=on")
    assert done.status != 0 and "module daxview is not loaded" in done.stderr, repr(done)
    viewing.run(f"daxfuse {DEVICE} /mnt -o views=auto,keeper=none")
    mount = status_of(viewing)["mount"]
    assert mount["views"] is False and "not loaded" in mount["no_views"]
    viewing.run(f"daxfuse umount --wait /mnt; insmod {MODULE}")
    done = viewing.try_run(f"daxfuse {DEVICE} /mnt -o views=on,keeper=supervisor")
    assert done.status != 0 and "views=on does not survive its daemon" in done.stderr, repr(done)
    viewing.run(f"daxfuse {DEVICE} /mnt -o views=auto")
    assert status_of(viewing)["mount"]["views"] is True
    viewing.run("""daxfuse umount --wait /mnt; truncate -s 64M /dev/shm/pool
        mkfs.daxfuse -q /dev/shm/pool; daxfuse /dev/shm/pool /mnt -o views=auto""")
    mount = status_of(viewing)["mount"]
    assert mount["keeper"] == "supervisor" and "no_views" in mount, "an image has none"
    viewing.run("daxfuse umount --wait /mnt; rm /dev/shm/pool")


def test_daemon_is_killed(viewing):
    """The mount ends with it. A mapping that is left keeps the device from other daemons."""
    viewing.run(f"mkfs.daxfuse -q -f {DEVICE}; daxfuse {DEVICE} /mnt -o views=on; dmesg -C")
    viewing.run(f"""mkfifo /run/go; python3 /daxfuse/hold.py < /run/go > /run/said 2>&1 &
        exec 3> /run/go; until grep -q mapped /run/said; do sleep 0.1; done
        kill -9 $(pgrep -x daxfuse); sleep 1; umount -l /mnt
        if daxfuse {DEVICE} /mnt -o views=on; then exit 1; fi
        if daxfuse {DEVICE} /mnt; then exit 1; fi
        if mkfs.daxfuse -f {DEVICE}; then exit 1; fi
        echo >&3; wait; exec 3>&-
        daxfuse {DEVICE} /mnt -o views=on; head -c 1 /mnt/file | grep -q n
        daxfuse umount --wait /mnt""")
    assert json.loads(viewing.run(f"fsck.daxfuse -n {DEVICE}"))["clean"]
    check_log(viewing)
