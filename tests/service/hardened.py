#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""
usage: tests/service/hardened.py [PYTEST-ARGUMENTS]      default: tests/functional

Functional tests with daemons that run as daxfuse@.service has them: what the unit takes from a daemon is
not missed. In a machine of this host's own files, which has all that they need. For root.
"""

import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/service"))

import machine as machines  # noqa: E402  (needs the path above)

PROGRAMS = Path(os.environ.get("DAXFUSE_BIN", ROOT / "build" / os.environ.get("DAXFUSE_PRESET", "dev") / "bin"))
# Beside the sandbox: how the unit's daemon is ended, and what its limits are.
OTHERS = ("KillMode=", "LimitMEMLOCK=", "LimitCORE=")


def properties():
    """The lines of the unit that are about what its daemon may do."""
    text = (ROOT / "contrib/systemd/daxfuse@.service.in").read_text()
    sandbox = text[text.index("NoNewPrivileges="):text.index("[Install]")].splitlines()
    return [line for line in sandbox if line and not line.startswith("#")] + [
        line for line in text.splitlines() if line.startswith(OTHERS)]


def make_machine(folder):
    machine = machines.Machine("/", folder)
    shutil.rmtree(machine.root / "etc/systemd/system")
    (machine.root / "etc/fstab").write_text("")
    # some tests compare with an ext4
    machine.boot("--unit=basic.target", devices=[*Path("/dev").glob("loop[0-9]*"), "/dev/loop-control"])
    machine.run("mount -o remount,bind,rw /proc/sys")  # tests drop caches
    return machine


def run(machine, arguments, limit):
    script = " ".join(["cd", shlex.quote(str(ROOT)), "&&", f"DAXFUSE_BIN={shlex.quote(str(PROGRAMS))}",
                       f"DAXFUSE_PROPERTIES={shlex.quote(chr(10).join(properties()))}",
                       "/usr/bin/python3 -m pytest -q -p no:cacheprovider", shlex.join(arguments)])
    return machine.try_run(script, limit=limit)


def main():
    machine = make_machine(tempfile.mkdtemp(prefix="daxfuse-hardened-"))
    try:
        done = run(machine, sys.argv[1:] or ["tests/functional"], None)
    finally:
        machine.close()
        shutil.rmtree(machine.folder)
    print(done.stdout + done.stderr, end="")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
