# SPDX-License-Identifier: BSD-3-Clause
"""Boots with real devices: a guest of QEMU whose first process is systemd, with namespaces on its NVDIMM.
There is one that fstab has by its label, one by its UUID, one that daxctl has to put into another mode
first, and one that comes late."""

import os
import tarfile
from pathlib import Path

import pytest

from machine import call
from vm import guest as vm

HERE = Path(__file__).resolve().parent
AGENT = HERE.parent / "vm/guest/agent"
UUID = "0b5c6d1e-7a3f-4c55-9d7e-1234567890ab"
MIB = 112

FSTAB = f"""\
LABEL=fast       /mnt/label  daxfuse  defaults  0 0
UUID={UUID}      /mnt/uuid   daxfuse  defaults  0 0
"""
# The namespaces as an earlier boot has left them, before udev is there. That of dax0.2 has no driver,
# that of dax0.3 is not there yet.
PREPARE = f"""#!/bin/bash
exec >/dev/console 2>&1
ndctl disable-region region0
ndctl init-labels -f nmem0
ndctl enable-region region0
for i in 0 1 2 3; do
	ndctl create-namespace -r region0 -m devdax -a 2M -s {MIB}M >/dev/null
done
mkfs.daxfuse -q -L fast /dev/dax0.0
mkfs.daxfuse -q -U {UUID} /dev/dax0.1
mkfs.daxfuse -q -L other /dev/dax0.2
mkfs.daxfuse -q -L late /dev/dax0.3
ndctl disable-namespace namespace0.3
daxctl disable-device dax0.2
"""
EARLY = "[Unit]\nDefaultDependencies=no\nIgnoreOnIsolate=yes\n"
FILES = {
    "etc/fstab": FSTAB,
    "etc/machine-id": "0" * 31 + "1\n",
    "etc/daxfuse/other.conf": "DEVICE=/dev/dax0.2\nMOUNTPOINT=/mnt/other\n",
    "etc/daxfuse/late.conf": "DEVICE=/dev/disk/by-label/late\nMOUNTPOINT=/mnt/late\n",
    "etc/systemd/system/agent.service": f"{EARLY}[Service]\nExecStart=/usr/sbin/agent\n",
    "etc/systemd/system/prepare.service":
        f"{EARLY}Before=systemd-udevd.service systemd-udev-trigger.service agent.service\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/sbin/prepare\n",
    # As ndctl has it; Debian's package has the rule that starts it, and lacks it.
    "usr/lib/systemd/system/daxdev-reconfigure@.service":
        "[Unit]\nDescription=Automatic daxctl device reconfiguration\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/sbin/reconfigure /%I\n",
    "usr/sbin/prepare": PREPARE,
    "usr/sbin/reconfigure": "#!/bin/sh\n"
        "sleep 1; if [ $1 = /dev/dax0.2 ]; then daxctl enable-device dax0.2; fi\n",
}
WORDS = ("init=/lib/systemd/systemd systemd.condition-needs-update=0 systemd.firstboot=no "
         # the machine may be a slow one
         "systemd.default_timeout_start_sec=600 systemd.default_device_timeout_sec=600 "
         + " ".join(f"systemd.mask={name}" for name in ("dbus.service", "dbus.socket", "systemd-logind.service",
                                                       "getty.target")))
JOURNAL = "systemctl list-jobs; journalctl -b --no-pager -o short-monotonic _TRANSPORT=stdout + SYSLOG_IDENTIFIER=systemd | tail -n 80"
LINKS = {
    "sysinit.target.wants/prepare.service": "../prepare.service",
    "sysinit.target.wants/agent.service": "../agent.service",
    "local-fs.target.wants/daxfuse@other.service": "/usr/lib/systemd/system/daxfuse@.service",
    "local-fs.target.wants/daxfuse@late.service": "/usr/lib/systemd/system/daxfuse@.service",
}


def make_payload(bin_dir, folder):
    root = folder / "payload"
    call("cmake", "--install", bin_dir.parent, "--prefix", "/usr", env={**os.environ, "DESTDIR": str(root)})
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if text.startswith("#!") else 0o644)
    for name, target in LINKS.items():
        link = root / "etc/systemd/system" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    for name in ("label", "uuid", "other", "late"):
        (root / "mnt" / name).mkdir(parents=True)
    call("install", "-m", "755", AGENT, root / "usr/sbin/agent")
    with tarfile.open(folder / "payload.tar", "w") as tar:
        tar.add(root, ".")
    return folder / "payload.tar"


@pytest.fixture(scope="module")
def guest(bin_dir, tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    folder = tmp_path_factory.mktemp("devices")
    disk = call(HERE / "tree", "trixie", "disk").strip()
    vm.make_nvdimm(folder / "nvdimm.img", 512)
    with vm.Guest(folder, folder / "nvdimm.img", make_payload(bin_dir, folder), root=disk, boot=WORDS) as machine:
        yield machine


def wait_for(guest, condition, limit=500):
    """In the guest, where each look costs less."""
    done = guest.try_run(f"for i in $(seq {limit}); do if {condition}; then exit; fi; sleep 1; done; exit 1",
                         limit=2 * limit)
    assert done.status == 0, f"{condition}\n{guest.try_run(JOURNAL).stdout}"


def wait_for_unit(guest, name):
    wait_for(guest, f"systemctl -q is-active '{name}'")


def get(guest, key, unit):
    return guest.run(f"systemctl show -P {key} '{unit}'").strip()


@pytest.mark.parametrize("point, link, dax", [("label", "by-label/fast", "dax0.0"), ("uuid", f"by-uuid/{UUID}", "dax0.1")])
def test_line_of_fstab(guest, point, link, dax):
    """With a device that is there: the mount waits for the link that our rule makes."""
    wait_for_unit(guest, f"mnt-{point}.mount")
    assert guest.run(f"findmnt -no SOURCE,FSTYPE /mnt/{point}").split() == [f"/dev/{dax}", "fuse.daxfuse"]
    device = guest.run(f"systemd-escape --path --suffix=device /dev/disk/{link}").strip()
    assert get(guest, "ActiveState", device) == "active"
    assert f"dev-{dax}.device" in get(guest, "After", f"mnt-{point}.mount").split()
    guest.run(f"date > /mnt/{point}/file; test -s /mnt/{point}/file")


def test_daxctl_is_first(guest):
    """What it has to do to a device is done before anybody looks at that, though its unit is not a part
    of the boot, and would wait for local filesystems."""
    unit, daxctl = "daxfuse@other.service", "daxdev-reconfigure@dev-dax0.2.service"
    wait_for_unit(guest, unit)
    done = int(get(guest, "ActiveEnterTimestampMonotonic", daxctl))
    assert 0 < done < int(get(guest, "InactiveExitTimestampMonotonic", unit))
    assert get(guest, "NRestarts", unit) == "0"
    for mount in ("mnt-label.mount", "mnt-uuid.mount"):
        assert mount in get(guest, "Before", daxctl).split()
    guest.run("daxfuse status /mnt/other | grep /dev/dax0.2; journalctl -b > /run/said; ! grep -i 'ordering cycle' /run/said")


def test_a_device_that_comes_late(guest):
    """Boot waits for it, the pool is mounted when it comes, and all that waits for local filesystems goes on."""
    wait_for_unit(guest, "daxfuse@other.service")
    wait_for(guest, "systemctl list-jobs | grep -q 'label.late.device *start running'")
    assert get(guest, "ActiveState", "local-fs.target") == "inactive"
    assert guest.run("systemctl list-jobs | grep daxfuse@late").split()[-1] == "waiting"
    guest.run("ndctl enable-namespace namespace0.3")
    wait_for_unit(guest, "daxfuse@late.service")
    assert get(guest, "NRestarts", "daxfuse@late.service") == "0"
    guest.run("daxfuse status /mnt/late | grep /dev/dax0.3; date > /mnt/late/file")
    wait_for_unit(guest, "multi-user.target")


def test_links_follow_labels(guest):
    """Those of udev, after a pool was made, and after it got another label."""
    wait_for_unit(guest, "mnt-label.mount")
    guest.run("daxfuse label /mnt/label renamed")
    wait_for(guest, "test /dev/disk/by-label/renamed -ef /dev/dax0.0 && ! test -e /dev/disk/by-label/fast")
    wait_for_unit(guest, "daxfuse@other.service")
    guest.run("systemctl stop daxfuse@other; mkfs.daxfuse -q -f -L anew /dev/dax0.2")
    wait_for(guest, "test /dev/disk/by-label/anew -ef /dev/dax0.2")
    guest.run("systemctl start daxfuse@other")
