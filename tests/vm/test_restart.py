# SPDX-License-Identifier: BSD-3-Clause
"""
The serving process dies again and again on a real device, and no program notices.
DAXFUSE_VM_FILES=1000000 does the same on a pool of so many files, made on the host.
"""

import json
import mmap
import os
import subprocess

import pytest

import guest as vm
from guest import MAKE_NAMESPACE
from load import LOAD, START

DEVICE = "/dev/dax0.0"
KILLS = 12
FILES = int(os.environ.get("DAXFUSE_VM_FILES", 0))

# Kill the supervisor's child, let the load go on for a while, and again. What a lookup
# takes meanwhile is the pause.
KILL = f"""
supervisor=$(daxfuse status /mnt | sed -n 's/.*"supervisor": *\\([0-9]*\\).*/\\1/p')
for i in $(seq {KILLS}); do
	for child in $(cat /proc/$supervisor/task/$supervisor/children); do
		kill -9 $child
	done
	start=$(date +%s%N)
	stat /mnt/never-looked-up-$i > /dev/null 2>&1 || true
	echo $(( ($(date +%s%N) - start) / 1000000 ))
	sleep 0.$((RANDOM % 5 + 1))
done
"""


def pauses(text):
    return sorted(int(word) for word in text.split())


def kill_under_load(guest, number):
    guest.run(f"mkdir /mnt/{number}; rm -f /run/acks\n" + START.format(number, "/run/acks"))
    guest.run(f"{LOAD} wait /run/acks 5")
    found = pauses(guest.run(KILL))
    # All writers go on after the last kill, and end when we say so.
    guest.run("count=$(wc -l < /run/acks)\n"
              "while [ $(wc -l < /run/acks) -lt $((count + 20)) ]; do sleep 0.1; done\n"
              "for pid in $(pgrep -f load.py); do kill -STOP $pid; done\n"
              "sleep 1; kill -9 $(pgrep -f load.py); sleep 0.5")
    check = json.loads(guest.run(f"{LOAD} verify /mnt/{number} /run/acks"))
    assert check["wrong"] == [] and len(check["operations"]) == 4, check
    mount = json.loads(guest.run("daxfuse status /mnt"))["mount"]
    assert mount["starts"] == KILLS + 1 and mount["restartable"], mount
    return found


@pytest.mark.parametrize("options", ["dax=never", "dax=always"])
def test_nobody_notices(guest, options):
    guest.try_run("umount -l /mnt; kill -9 $(pgrep -x daxfuse); sleep 1")
    guest.run(f"mkfs.daxfuse -q -f {DEVICE}; daxfuse {DEVICE} /mnt -o {options}")
    kill_under_load(guest, 1)
    guest.run(f"daxfuse umount --wait /mnt; fsck.daxfuse -n {DEVICE}")


def find_pool(path):
    """Where the pool begins in the NVDIMM: behind the namespace's own block."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
        at = memory.find(b"DAXFUSE\x01")
        while at % vm.UNIT:
            assert at >= 0
            at = memory.find(b"DAXFUSE\x01", at + 1)
        return at


def fill(bin_dir, image, point, count):
    """A pool of so many files, through a mount on the host."""
    subprocess.run([bin_dir / "mkfs.daxfuse", "-q", image], check=True)
    subprocess.run([bin_dir / "daxfuse", image, point], check=True)
    for number in range(count):
        if number % 10000 == 0:
            os.mkdir(point / f"d{number // 10000}")
        os.close(os.open(point / f"d{number // 10000}" / f"{number}",
                         os.O_WRONLY | os.O_CREAT, 0o644))
    subprocess.run([bin_dir / "daxfuse", "umount", "--wait", point], check=True)


@pytest.mark.skipif(not FILES, reason="takes minutes: DAXFUSE_VM_FILES=1000000")
def test_many_files(make_guest, bin_dir, tmp_path):
    """Recovery does not grow with the pool, nor does the pause."""
    nvdimm, image, point = tmp_path / "nvdimm.img", tmp_path / "pool", tmp_path / "mnt"
    point.mkdir()
    vm.make_nvdimm(nvdimm, 2048)
    with make_guest(tmp_path) as guest:
        guest.run(f"{MAKE_NAMESPACE}; mkfs.daxfuse -q {DEVICE}; daxfuse {DEVICE} /mnt")
        size = json.loads(guest.run("daxfuse status /mnt"))["size"]
        few = kill_under_load(guest, 1)
        guest.run("umount /mnt")
    at = find_pool(nvdimm)
    with open(image, "wb") as file:
        file.truncate(size)
    fill(bin_dir, image, point, FILES)
    subprocess.run(["dd", f"if={image}", f"of={nvdimm}", "bs=2M", f"seek={at // vm.UNIT}",
                    "conv=notrunc", "status=none"], check=True)
    with make_guest(tmp_path) as guest:
        guest.run(f"daxfuse {DEVICE} /mnt")
        assert json.loads(guest.run("daxfuse status /mnt"))["space"]["inodes"] > FILES
        many = kill_under_load(guest, 1)
        guest.run(f"umount /mnt; fsck.daxfuse -n {DEVICE} > /dev/null")
    print(json.dumps({"few_ms": few, "many_ms": many}))
