#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""
usage: tests/vm/functional.py [PYTEST-ARGUMENTS]      default: tests/functional

Functional tests in a guest with the module daxview, where each pool is a device-dax of its own, mounted
with kernel views: what they are to a file is what a file is. It takes an hour or more, as all is emulated.
The kernel must have had nothing to say, and the module must go at the end.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "vm")]

import guest as vm  # noqa: E402  (needs the path above)

BUILD = TESTS.parent / "build" / os.environ.get("DAXFUSE_PRESET", "dev")
PROGRAMS = ("daxfuse", "mkfs.daxfuse", "fsck.daxfuse")
MODULE = "/daxfuse/daxview.ko"
DEFAULT = ["tests/functional"]
LIMIT = 6 * 3600
# Of a guest that is emulated on a busy machine.
EXPECTED = "hrtimer: interrupt took|clocksource: "


def make_module(folder):
    """Built from what is installed, for the guest's kernel."""
    subprocess.run(["cmake", "--install", BUILD, "--prefix", folder / "usr"], check=True, stdout=subprocess.DEVNULL)
    (source,) = (folder / "usr/src").glob("daxview-*")
    subprocess.run([TESTS / "vm/module", source, folder / "built"], check=True)
    return folder / "built" / vm.kernel_version() / "daxview.ko"


def make_payload(path, module):
    """Ours, with all that a test takes from the tree."""
    vm.make_payload(path, [BUILD / "bin" / name for name in PROGRAMS],
                    [(TESTS, "/daxfuse/tests"), (TESTS.parent / "pytest.ini", "/daxfuse/pytest.ini"),
                     (TESTS.parent / "include", "/daxfuse/include"), (module, MODULE),
                     *((path, f"/daxfuse/lib/{path.name}") for path in (BUILD / "lib").glob("libdaxmap*.so*"))])
    return path


def show(log, over):
    """What the guest says, as it says it."""
    with open(log, encoding="utf-8", errors="replace") as said:
        while not over.wait(1):
            print(said.read(), end="", flush=True)
        print(said.read(), end="", flush=True)


def run(guest, arguments):
    """pytest in the guest, on devices of the memory that its kernel leaves alone: its exit status."""
    region = guest.run(f"chmod 666 /dev/fuse; insmod {MODULE}; {vm.TAKE_REGION}; dmesg -C").split()[0]
    over = threading.Event()
    shower = threading.Thread(target=show, args=[guest.acks, over])
    shower.start()
    try:
        return guest.try_run(f"cd /daxfuse && DAXFUSE_BIN=/daxfuse/bin DAXFUSE_REGION={region} python3 -m pytest -q "
                             f"-p no:cacheprovider {shlex.join(arguments)} > /run/port/acks 2>&1", limit=LIMIT).status
    finally:
        over.set()
        shower.join()


def main():
    with tempfile.TemporaryDirectory(prefix="daxfuse-functional-") as name:
        folder = Path(name)
        payload = make_payload(folder / "payload.tar", make_module(folder))
        with vm.Guest(folder, None, payload, **vm.REGION) as guest:
            status = run(guest, sys.argv[1:] or DEFAULT)
            said = [line for line in guest.run("dmesg").splitlines() if not re.search(EXPECTED, line)]
            print("".join(f"kernel: {line}\n" for line in said), end="")
            guest.run("rmmod daxview")
    return status or bool(said)


if __name__ == "__main__":
    sys.exit(main())
