# SPDX-License-Identifier: BSD-3-Clause
"""Machines that come up and go down: enabled units, lines of fstab, and what users had open."""

import re

import pytest

from machine import HOLDER, Pool, Unit, Writer, until

AS_USER = "setpriv --reuid nobody --regid nogroup --clear-groups"
FSTAB = """\
/var/lib/plain.pool  /mnt/plain  daxfuse  nofail                         0 0
/var/lib/auto.pool   /mnt/auto   daxfuse  noauto,x-systemd.automount     0 0
/var/lib/user.pool   /mnt/user   daxfuse  noauto,user                    0 0
/srv/absent.pool     /mnt/absent daxfuse  nofail                         0 0
/dev/disk/by-label/x /mnt/label  daxfuse  nofail,x-systemd.device-timeout=2 0 0
/srv/late            /srv/images none     bind,nofail                    0 0
"""


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def booted(request, make_machine):
    """One that has pools in fstab and an enabled unit, and was booted again."""
    machine = make_machine(request.param)
    machine.boot()
    machine.run(f"""cat > /etc/fstab <<'END'
{FSTAB}END
        mkdir -p /mnt/plain /mnt/auto /mnt/absent /mnt/label /srv/late /srv/images
        install -d -o nobody /mnt/user
        truncate -s 64M /var/lib/plain.pool /var/lib/auto.pool /var/lib/user.pool
        mkfs.daxfuse -q /var/lib/plain.pool; mkfs.daxfuse -q /var/lib/auto.pool
        chown nobody /var/lib/user.pool; {AS_USER} mkfs.daxfuse -q /var/lib/user.pool""")
    pool = Pool(machine, "unit", place="/srv/late", enable=True)
    machine.run(f"sed -i s,/srv/late,/srv/images, {pool.conf}")
    machine.power_off()
    machine.boot()
    machine.unit = pool
    yield machine
    machine.close()


def test_unit_is_mounted_at_boot(booted):
    """Behind the filesystem that its image lies on."""
    assert booted.unit.state() == "active"
    assert booted.unit.status()["device"] == "/srv/images/unit.pool"


def test_line_of_fstab(booted):
    """Its supervisor lives with the mount's unit; it is stopped if nobody uses it."""
    unit = Unit(booted, "mnt-plain.mount")
    assert unit.state() == "active"
    booted.run("findmnt -t fuse.daxfuse /mnt/plain")
    with Writer(booted, "/mnt/plain/file") as writer:
        unit.systemctl("stop", code=1)
        assert unit.state() == "active"
        before = booted.run("daxfuse status /mnt/plain | sed -n 's/.*\"pid\": *//p' | tr -d ,")
        booted.run(f"kill -9 {before}")
        booted.run("daxfuse restart /mnt/plain")
        writer.finish()
    unit.systemctl("restart")
    booted.run("test -e /mnt/plain/file")
    unit.systemctl("stop")
    assert "plain" not in booted.run("cat /proc/self/mountinfo")
    until(lambda: booted.try_run("fsck.daxfuse -n /var/lib/plain.pool").returncode == 0)
    unit.systemctl("start")


def test_automount(booted):
    assert Unit(booted, "mnt-auto.automount").state() == "active"
    assert Unit(booted, "mnt-auto.mount").state() == "inactive"
    booted.run("echo here > /mnt/auto/file")
    assert Unit(booted, "mnt-auto.mount").state() == "active"
    booted.run("daxfuse status /mnt/auto; systemctl stop mnt-auto.mount; grep here /mnt/auto/file")


def test_absent_devices_hold_up_nothing(booted):
    for name in ("mnt-absent.mount", "mnt-label.mount"):
        assert Unit(booted, name).state() != "active"
    assert Unit(booted, "multi-user.target").state() == "active"


def test_users_mount(booted):
    """With a line that says "user" and a device of their own; it is theirs alone."""
    booted.run(f"""{AS_USER} mount /mnt/user
        {AS_USER} sh -c 'echo here > /mnt/user/file'
        ! grep -q here /mnt/user/file
        findmnt -no OPTIONS /mnt/user | grep -q nosuid,nodev,noexec
        {AS_USER} daxfuse umount --wait /mnt/user""")


def test_power_off_with_open_files(booted):
    """It is over soon, nothing is lost, and the next boot has all again."""
    with Writer(booted, "/mnt/unit/file"), Writer(booted, "/mnt/plain/file"):
        booted.run("echo acknowledged > /mnt/unit/seen; echo acknowledged > /mnt/plain/seen")
        assert booted.power_off() < 200
    assert "Failed unmounting" not in re.sub(r"\x1b\[[0-9;]*m", "", booted.console())
    booted.boot()
    until(lambda: booted.unit.state() == "active", 60, "the unit")
    booted.run("grep -q acknowledged /mnt/unit/seen /mnt/plain/seen")
    said = booted.run("journalctl -o cat -b -1 || :")
    assert "Transport endpoint" not in said


def test_power_off_beside_a_container(booted):
    """One that no unit ends, and that has a folder of each pool in a mount namespace of its own."""
    for point in ("/mnt/unit", "/mnt/plain"):
        booted.run(f"mkdir -p {point}/volume; {HOLDER.format(point + '/volume')}")
    assert booted.power_off() < 200
    booted.boot()
    until(lambda: booted.unit.state() == "active", 60, "the unit")
