# SPDX-License-Identifier: BSD-3-Clause
"""The kernel module daxview (contrib/dkms), by its ioctls: the program tests/vm/views, in a guest of its own.

After each test the kernel's log is read: a line that was not expected fails it."""

import re
import subprocess
from pathlib import Path

import pytest

import guest as vm

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parents[1]
MODULE = "/daxfuse/daxview.ko"
SOURCES = sorted((TESTS / "views").glob("*.c"))
SCENARIOS = [name for path in SOURCES for name in re.findall(r'{ "(\w+)", (?:\w+) }', path.read_text())]
# A page that has failed stays so, for those that follow: last.
SCENARIOS.sort(key="poison".__eq__)
# Those that go on for a while, and for how long; the others take a second or two.
SECONDS = {"relocates": 3, "revoked_in_use": 3, "stress": 8, "fuzz": 45}
# What a device of pages has, too; the others count huge pages.
IN_PAGES = ("edges", "reads", "holes", "private", "relocates", "busy_pages", "stress")
# Of a guest that is emulated on a busy machine.
SLOW = "hrtimer: interrupt took|clocksource: "
EXPECTED = {"poison": "Injecting memory failure|Memory failure: .* Recovered|MCE: Killing views"}


def make_views(program):
    """Compile it, as that file; its path."""
    subprocess.run(["cc", "-O1", "-Wall", "-Werror", "-pthread", "-I", ROOT / "include", "-o", program,
                    *SOURCES], check=True)
    return program


@pytest.fixture(scope="module")
def viewing(modules, bin_dir, tmp_path_factory):
    """A guest with the module."""
    folder = tmp_path_factory.mktemp("viewing")
    version = vm.kernel_version()
    vm.make_payload(folder / "payload.tar", [make_views(folder / "views")],
                    [(modules / version / "daxview.ko", MODULE)])
    vm.make_nvdimm(folder / "nvdimm.img", 512)
    with vm.Guest(folder, folder / "nvdimm.img", folder / "payload.tar") as machine:
        machine.run(vm.MAKE_NAMESPACE)
        yield machine


def run_scenario(guest, name, seconds=None):
    seconds = seconds or SECONDS.get(name, 1)
    guest.run(f"lsmod | grep -q ^daxview || insmod {MODULE}; dmesg -C")
    done = guest.try_run(f"timeout -s KILL {seconds + 300} views {name} {seconds}",
                         limit=seconds + 400)
    said = guest.run("dmesg").splitlines()
    assert done.status == 0, repr(done)
    expected = f"{SLOW}|{EXPECTED.get(name, '$^')}"
    assert [line for line in said if not re.search(expected, line)] == []


def test_builds_without_a_warning(modules):
    """For the guest's kernel and the stable one: gcc with W=1, sparse; the former by DKMS, too."""
    built = sorted(folder.name for folder in modules.iterdir())
    assert len(built) >= 2 and vm.kernel_version() in built
    assert any(name.startswith("6.12.") for name in built)
    for name in built:
        assert (modules / name / "said").read_text() == ""
        assert (modules / name / "daxview.ko").stat().st_size > 0
    log = (modules / vm.kernel_version() / "dkms.log").read_text()
    assert "Building module(s)" in log and "done" in log, log


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(viewing, name):
    run_scenario(viewing, name)


def test_device_of_pages(viewing):
    """Alignment 4 KiB: the same, in pages."""
    viewing.run("rmmod daxview 2>/dev/null || true; " + vm.MAKE_NAMESPACE.replace("2M", "4k"))
    for name in IN_PAGES:
        run_scenario(viewing, name, 2)

