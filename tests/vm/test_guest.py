# SPDX-License-Identifier: BSD-3-Clause
"""The guest itself: without these, no other result of tests/vm means anything."""

import json

from guest import MAKE_NAMESPACE

TOUCH = """
import mmap, os, resource
fd = os.open("/dev/dax0.0", os.O_RDWR)
size = 64 << 20
mapping = mmap.mmap(fd, size)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for offset in range(0, size, 4096):
    mapping[offset] = 1
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
sizes = [line.split()[1] for entry in open("/proc/self/smaps").read().split("VmFlags")
         if "/dev/dax0.0" in entry
         for line in entry.splitlines() if line.startswith("KernelPageSize")]
print(faults, *sizes)
"""


def test_namespace_is_devdax(guest):
    (device,) = json.loads(guest.run("daxctl list"))
    assert device["chardev"] == "dax0.0"
    assert device["mode"] == "devdax"
    assert device["align"] == 2 << 20


def test_mapping_takes_one_fault_per_unit(guest):
    faults, *sizes = guest.run(f"python3 -c '{TOUCH}'").split()
    assert sizes == ["2048"]
    # The interpreter itself takes a few.
    assert 32 <= int(faults) < 100


def test_failing_script_is_seen(guest):
    result = guest.try_run("echo out; echo err >&2; exit 3")
    assert (result.status, result.stdout, result.stderr) == (3, "out\n", "err\n")


def test_contents_outlive_the_guest(make_guest, tmp_path):
    """SIGKILL of QEMU: the namespace and what was stored are there at the next boot."""
    store = ("python3 -c 'import mmap, os;"
             "m = mmap.mmap(os.open(\"/dev/dax0.0\", os.O_RDWR), 2 << 20);{}'")
    with make_guest(tmp_path) as machine:
        machine.run(MAKE_NAMESPACE)
        machine.run(store.format("m[4096:4101] = b\"alive\""))
        machine.run("echo acknowledged > /run/port/acks")
        machine.kill()
    assert (tmp_path / "acks.log").read_text() == "acknowledged\n"
    with make_guest(tmp_path) as machine:
        assert machine.run(store.format("print(m[4096:4101])")) == "b'alive'\n"
