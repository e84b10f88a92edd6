# SPDX-License-Identifier: BSD-3-Clause
"""Devices in other modes: an image on fsdax works, what cannot hold a pool is refused with
the command that helps."""

import json

import pytest

from guest import MAKE_NAMESPACE

DEVICE = "/dev/dax0.0"


@pytest.fixture(scope="module")
def other_guest(make_guest, tmp_path_factory):
    """A guest of its own: what is done to its device cannot be undone."""
    with make_guest(tmp_path_factory.mktemp("refused")) as machine:
        yield machine


def test_small_alignment(other_guest):
    """It is taken, and said that it is mapped in pages; with the command that helps."""
    other_guest.run(MAKE_NAMESPACE.replace("2M", "4K"))
    said = other_guest.run(f"mkfs.daxfuse {DEVICE}")
    assert "mapped in pages of 4 KiB" in said and "ndctl create-namespace" in said
    other_guest.run(f"""daxfuse {DEVICE} /mnt; head -c 9M /dev/urandom > /run/bytes; cp /run/bytes /mnt/file
        daxfuse run -- python3 -c 'import mmap
with open("/mnt/file", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
    assert mapped[:] == open("/run/bytes", "rb").read()
    mapped[5 << 20] = mapped[5 << 20] ^ 1'
        cmp -l /run/bytes /mnt/file > /run/differs || true
        test $(wc -l < /run/differs) = 1; grep -q "^5242881 " /run/differs
        daxfuse umount --wait /mnt; fsck.daxfuse -n {DEVICE}; rm /run/bytes""")


def test_image_on_fsdax(other_guest):
    """A file on a DAX filesystem is persistent memory, too: stores to it are durable."""
    other_guest.run(f"""{MAKE_NAMESPACE.replace('devdax', 'fsdax')}
        mkfs.ext4 -q -b 4096 -E stride=512,stripe_width=512 /dev/pmem0
        mkdir /run/fsdax; mount -o dax /dev/pmem0 /run/fsdax
        fallocate -l 300M /run/fsdax/pool
        mkfs.daxfuse -q /run/fsdax/pool
        daxfuse /run/fsdax/pool /mnt
        cp /etc/passwd /mnt/; mkdir /mnt/d; dd if=/dev/zero of=/mnt/d/large bs=1M count=20""")
    status = json.loads(other_guest.run("daxfuse status /mnt"))
    assert status["mode"] == "image" and status["granularity"] == "cache_line"
    assert status["durability"] == "power"
    serving = status["mount"]["pid"]
    assert other_guest.run(f"kill -9 {serving}; cmp /etc/passwd /mnt/passwd; ls /mnt/d") == "large\n"
    other_guest.run("daxfuse umount --wait /mnt; fsck.daxfuse -n /run/fsdax/pool; umount /run/fsdax")


def test_famfs(other_guest):
    """Bound to famfs's driver, which daxctl calls a mode."""
    other_guest.run(f"""{MAKE_NAMESPACE}
        modprobe fsdev_dax
        cd /sys/bus/dax/drivers; echo dax0.0 > device_dax/unbind; echo dax0.0 > fsdev_dax/new_id""")
    (device,) = json.loads(other_guest.run("daxfuse list"))
    cure = "daxctl reconfigure-device --force --mode=devdax dax0.0"
    assert device["mode"] == "famfs" and device["next"] == cure
    for command, status in ((f"mkfs.daxfuse {DEVICE}", 8), (f"daxfuse {DEVICE} /mnt", 32)):
        result = other_guest.try_run(command)
        assert result.status == status, result
        assert "famfs mode" in result.stderr and cure in result.stderr
    other_guest.run("cd /sys/bus/dax/drivers; echo dax0.0 > fsdev_dax/unbind; "
                    "echo dax0.0 > device_dax/bind; mkfs.daxfuse -q -f " + DEVICE)


def test_system_ram(other_guest):
    other_guest.run(f"""{MAKE_NAMESPACE}
        echo offline > /sys/devices/system/memory/auto_online_blocks
        daxctl reconfigure-device --no-online -m system-ram dax0.0""")
    for command, status in ((f"mkfs.daxfuse {DEVICE}", 8), (f"daxfuse {DEVICE} /mnt", 32)):
        result = other_guest.try_run(command)
        assert result.status == status, result
        assert "system-ram" in result.stderr
        assert "daxctl reconfigure-device" in result.stderr
    assert '"mode":"system-ram"' in other_guest.run("daxfuse list").replace(" ", "")


def test_system_ram_that_the_kernel_keeps(other_guest):
    """What comes up as the kernel's own memory may never be offline again: a boot option helps."""
    other_guest.run("""daxctl reconfigure-device --force --mode=devdax dax0.0
        echo online_kernel > /sys/devices/system/memory/auto_online_blocks
        daxctl reconfigure-device --no-movable -m system-ram dax0.0""")
    result = other_guest.try_run(f"mkfs.daxfuse {DEVICE}")
    assert result.status == 8
    assert "memhp_default_state=offline" in result.stderr
    assert "daxctl reconfigure-device" in result.stderr
