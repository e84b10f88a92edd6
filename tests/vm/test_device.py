# SPDX-License-Identifier: BSD-3-Clause
"""daxfuse on a real /dev/dax0.0, in one guest."""

import json

import pytest

UNIT = 2 << 20
DEVICE = "/dev/dax0.0"
# What differs from an image: the mapping, units, flushing, SIGKILL. A choice, because each
# test takes a second here.
FUNCTIONAL = {
    "test_files.py": "dax and (whole or growing or overwrites or append or direct or splice)",
    "test_sparse.py": "dax and (scattered or collapse or extents or backwards)",
    "test_unlinked.py": "test",
    "test_xattrs.py": "namespaces or sizes",
}


@pytest.fixture
def mounted(guest):
    """A new pool on the device, mounted on /mnt."""
    guest.run(f"mkfs.daxfuse -q -f {DEVICE}; daxfuse {DEVICE} /mnt")
    yield guest
    guest.run("daxfuse umount --wait /mnt")
    guest.run(f"fsck.daxfuse -n {DEVICE}")


def mappings(smaps, path):
    """The fields of each mapping of a file in /proc/PID/smaps, in kB."""
    found, fields = [], None
    for line in smaps.splitlines():
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            fields = {}
            if words[-1] == path:
                found.append(fields)
        elif len(words) == 3 and words[2] == "kB":
            fields[words[0].rstrip(":")] = int(words[1])
    return found


def test_list_shows_the_device(guest):
    (device,) = json.loads(guest.run("daxfuse list"))
    assert device["device"] == DEVICE
    assert device["mode"] == "devdax"
    assert device["align"] == UNIT
    assert device["size"] % UNIT == 0
    (of_daxctl,) = json.loads(guest.run("daxctl list"))
    assert device["size"] == of_daxctl["size"]


LISTEN = """
import socket, subprocess, sys
events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15)  # NETLINK_KOBJECT_UEVENT
events.bind((0, 1))
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
events.settimeout(60)
while True:
    event = events.recv(8192).split(b"\\0")
    if b"ACTION=change" in event and b"SUBSYSTEM=dax" in event and b"DEVNAME=dax0.0" in event:
        break
"""


def test_tools_tell_udev(guest):
    """A new pool, another label, on a device and on a mount: udev renews its links."""
    guest.run(f"cat > /run/listen.py <<'END'\n{LISTEN}\nEND")
    for command in (f"mkfs.daxfuse -q -f {DEVICE}", f"daxfuse label {DEVICE} one"):
        guest.run(f"python3 /run/listen.py {command}")
    guest.run(f"""daxfuse {DEVICE} /mnt
        python3 /run/listen.py daxfuse label /mnt two
        python3 /run/listen.py daxfuse label {DEVICE} three
        daxfuse probe --udev {DEVICE} | grep -x ID_FS_LABEL=three
        daxfuse umount --wait /mnt""")


SWITCHES = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_nvcsw)
"""


@pytest.mark.parametrize("command", ["daxfuse probe --udev {}", "mkfs.daxfuse -q -f {}", "daxfuse list"])
def test_a_busy_udev_is_not_waited_for(guest, command):
    """By libndctl, for 5,000 naps of a millisecond each time: the rule's own probe is what it is busy with,
    and a mount at boot or a restart meets the events of others."""
    guest.run(f"""cat > /run/switches.py <<'END'
{SWITCHES}
END
        mkfs.daxfuse -q -f {DEVICE}; mkdir -p /run/udev; touch /run/udev/queue""")
    try:
        assert int(guest.run(f"python3 /run/switches.py {command.format(DEVICE)}")) < 2000
    finally:
        guest.run("rm /run/udev/queue")


def test_daemon_maps_in_units(mounted):
    """The pool is one mapping of 2 MiB pages."""
    mounted.run("dd if=/dev/zero of=/mnt/file bs=1M count=64 status=none")
    pool = mappings(mounted.run("cat /proc/$(pgrep -n -x daxfuse)/smaps"), DEVICE)
    assert [mapping["KernelPageSize"] for mapping in pool] == [2048]
    (of_daxctl,) = json.loads(mounted.run("daxctl list"))
    assert pool[0]["Size"] << 10 == of_daxctl["size"]


def test_large_file_lies_in_aligned_units(mounted):
    mounted.run("dd if=/dev/urandom of=/mnt/file bs=1M count=32 status=none")
    extents = json.loads(mounted.run("daxfuse map /mnt/file"))["extents"]
    assert sum(extent["length"] for extent in extents) == 32 << 20
    for extent in extents:
        assert extent["file_offset"] % UNIT == 0
        assert extent["device_offset"] % UNIT == 0
        assert extent["length"] % UNIT == 0


def test_map_is_true(mounted):
    """What `daxfuse map` says is where the bytes are on the device."""
    mounted.run("dd if=/dev/urandom of=/mnt/file bs=1M count=5 status=none")
    extents = json.loads(mounted.run("daxfuse map /mnt/file"))["extents"]
    mounted.run("sha256sum < /mnt/file > /run/sum; daxfuse umount --wait /mnt")
    mounted.run(f"""cat > /run/read.py <<'END'
import mmap, os, sys
device = mmap.mmap(os.open("{DEVICE}", os.O_RDWR), {max(
    -(-(e["device_offset"] + e["length"]) // UNIT) * UNIT for e in extents)})
for offset, length in {[(e["device_offset"], e["length"]) for e in extents]}:
    sys.stdout.buffer.write(device[offset:offset + length])
END
python3 /run/read.py | head -c 5M | sha256sum | cmp - /run/sum; daxfuse {DEVICE} /mnt""")


def test_contents_after_remount(mounted):
    mounted.run("""cp -a /usr/lib/python3/dist-packages/_pytest /mnt/
        (cd /mnt && find . -type f -exec sha256sum {} +) > /run/sums
        daxfuse umount --wait /mnt; daxfuse /dev/dax0.0 /mnt
        cd /mnt && sha256sum --quiet -c /run/sums && test $(wc -l < /run/sums) -gt 50""")


def test_second_user_is_refused(mounted):
    for command in (f"mkfs.daxfuse -f {DEVICE}", f"daxfuse {DEVICE} /tmp -o dax=never",
                    f"fsck.daxfuse -y {DEVICE}"):
        result = mounted.try_run(command)
        assert result.status != 0, command
        assert DEVICE in result.stderr, command


def test_second_mount_point(mounted):
    """With the same options it is mounted again, as any local filesystem."""
    mounted.run(f"""mkdir -p /run/again; echo here > /mnt/seen; daxfuse {DEVICE} /run/again
        grep -q here /run/again/seen; daxfuse umount --wait /run/again; grep -q here /mnt/seen""")


@pytest.mark.parametrize("module", list(FUNCTIONAL))
def test_functional(guest, module):
    """The functional tests on the device."""
    result = guest.try_run(
        f"cd /daxfuse/tests && DAXFUSE_BIN=/daxfuse/bin DAXFUSE_DEVICE={DEVICE} "
        f"python3 -m pytest -q -x -p no:cacheprovider functional/{module} "
        f"-k '{FUNCTIONAL[module]}'", limit=900)
    assert result.status == 0, result.stdout[-5000:]
    assert " passed" in result.stdout
