# SPDX-License-Identifier: BSD-3-Clause
"""Devices that are no NVDIMM's, as CXL memory and reserved DRAM are: made by daxctl of a region of memory,
of several ranges, and with an alignment of 4 KiB. The module daxview's own tests, and a mount with views."""

import json
import subprocess
from pathlib import Path

import pytest

import guest as vm
from test_view_mounts import check_log
from test_views import MODULE, make_views

TESTS = Path(__file__).resolve().parent
OURS = ("daxfuse", "mkfs.daxfuse", "fsck.daxfuse")
DEVICE = "/dev/dax0.0"  # where tests/vm/views looks for it
# What is taken of the region before, and given back: the device that comes then has a range in each
# such hole, and one of what is behind them.
HOLES = (6, 10)
WHOLE = 512
# Of tests/vm/views; those that count huge pages can't do with pages.
SCENARIOS = {"2M": ("maps", "edges", "reads", "holes", "relocates", "busy_pages", "stress", "poison"),
             "4K": ("edges", "reads", "holes", "relocates", "stress")}
# Of viewed.c.
PROGRAMS = {"2M": ("counts", "shrinks", "punches", "ages", "in_use"), "4K": ("shrinks", "punches", "ages")}
EXPECTED = "Injecting memory failure|Memory failure: .* Recovered|MCE: Killing views"
# A file of most of the device: words through a mapping, and what is read of them.
FILL = f"""
import mmap, os, struct
fd = os.open("/mnt/large", os.O_RDWR | os.O_CREAT)
size = {WHOLE * 7 // 8} << 20
os.posix_fallocate(fd, 0, size)
places = range(0, size - 8, (1 << 20) - 4096)
mapped = mmap.mmap(fd, size)
for at in places:
    assert mapped[at] == 0
    struct.pack_into("<Q", mapped, at, ~at & (1 << 64) - 1)
reader = os.open("/mnt/large", os.O_RDONLY)
for at in places:
    assert struct.unpack("<Q", os.pread(reader, 8, at)) == (~at & (1 << 64) - 1,)
    assert struct.unpack_from("<Q", mapped, at) == (~at & (1 << 64) - 1,)
"""


@pytest.fixture(scope="module")
def region(modules, bin_dir, tmp_path_factory):
    """A guest with such a region, of which nothing is taken; and the region's number."""
    folder = tmp_path_factory.mktemp("regions")
    subprocess.run(["cc", "-O1", "-pthread", "-o", folder / "viewed", TESTS / "viewed.c"], check=True)
    vm.make_payload(folder / "payload.tar",
                    [*(bin_dir / name for name in OURS), make_views(folder / "views"), folder / "viewed"],
                    [(modules / vm.kernel_version() / "daxview.ko", MODULE)])
    with vm.Guest(folder, None, folder / "payload.tar", **vm.REGION) as machine:
        number = machine.run(vm.TAKE_REGION).strip()
        machine.run(f"cat > /run/fill.py <<'END'\n{FILL}END")
        yield machine, number


TAKE = f"""
create() {{ daxctl create-device -r $region -s $1M -a $2 2> /dev/null | sed -n 's/.*"chardev":"\\(.*\\)".*/\\1/p'; }}
destroy() {{ daxctl disable-device $1; daxctl destroy-device -r $region $1; }}
for size in {" ".join(map(str, HOLES))}; do
    hole="$hole $(create $size 2M)"; kept="$kept $(create 2 2M)"
done
for name in $hole; do destroy $name; done
made=$(create {WHOLE} $align)
ln -sfn $made {DEVICE}; echo $made; echo $kept
"""


@pytest.fixture(scope="module", params=["4K", "2M"])
def scattered(request, region):
    """That device, with the module loaded: guest, alignment."""
    guest, number = region
    made, kept = guest.run(f"region={number}; align={request.param}; {TAKE}").splitlines()[-2:]
    ranges = guest.run(f"ls -d /sys/bus/dax/devices/{made}/mapping[0-9]*; insmod {MODULE}; dmesg -C").split()
    assert len(ranges) == len(HOLES) + 1, ranges
    yield guest, request.param
    guest.run(f"rmmod daxview; rm {DEVICE}")
    for name in made, *kept.split():
        guest.run(f"daxctl disable-device {name}; daxctl destroy-device -r {number} {name}")


def test_mount(scattered):
    """A file that has parts of all ranges; programs; a daemon that is killed."""
    guest, align = scattered
    guest.run(f"mkfs.daxfuse -q -f {DEVICE}; daxfuse {DEVICE} /mnt -o views=on; python3 /run/fill.py")
    places = json.loads(guest.run("daxfuse map /mnt/large"))["extents"]
    assert min(each["device_offset"] for each in places) < HOLES[0] << 20
    assert max(each["device_offset"] for each in places) > sum(HOLES) << 20
    guest.run("kill -9 $(pgrep -P $(pgrep -xo daxfuse)); rm /mnt/large")
    for name in PROGRAMS[align]:
        done = guest.try_run(f"timeout -s KILL 200 viewed {name} /mnt", limit=250)
        assert done.status == 0, f"{name}: {done!r}"
    status = json.loads(guest.run("daxfuse status /mnt"))
    assert status["views"]["made"] > 0 and status["mount"]["starts"] == 2
    assert status["align"] == {"2M": vm.UNIT, "4K": 4096}[align]
    guest.run(f"daxfuse umount --wait /mnt; fsck.daxfuse -n {DEVICE}")
    check_log(guest)


def test_module(scattered):
    """With the failing memory at the end: that page stays as it is."""
    guest, align = scattered
    for name in SCENARIOS[align]:
        done = guest.try_run(f"timeout -s KILL 300 views {name} 2", limit=400)
        assert done.status == 0, f"{name}: {done!r}"
        guest.run("lsmod | grep -q daxview || insmod " + MODULE)
    check_log(guest, EXPECTED)
