# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: machines, one for each systemd that we know."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import machine as machines  # noqa: E402  (needs the path above)
import packages as builders  # noqa: E402

# systemd 252 and 257
SUITES = ("bookworm",) if "DAXFUSE_QUICK" in os.environ else ("bookworm", "trixie")


@pytest.fixture(scope="session")
def make_machine(bin_dir, tmp_path_factory):
    """make_machine(suite, prefix="/usr") -> Machine, with daxfuse installed, not booted."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = []

    def make(suite, prefix="/usr"):
        tree = subprocess.run([HERE / "tree", suite], check=True, text=True,
                              stdout=subprocess.PIPE).stdout.strip()
        made.append(machines.Machine(tree, tmp_path_factory.mktemp("machine")))
        if prefix:
            made[-1].install(bin_dir.parent, prefix)
        return made[-1]

    yield make
    for machine in made:
        machine.close()


@pytest.fixture(scope="session", params=SUITES)
def machine(request, make_machine):
    """One that has booted, for tests that leave it as it was."""
    booted = make_machine(request.param).boot()
    yield booted
    booted.close()


@pytest.fixture
def pool(machine, request):
    """A pool whose service runs, with a name of its own."""
    name = f"p{abs(hash(request.node.name)) % 10 ** 8}"
    made = machines.Pool(machine, name)
    made.systemctl("start")
    yield made
    machine.try_run(f"echo STOP=wait >> {made.conf}; systemctl stop {made.name}; "
                    f"systemctl reset-failed {made.name}; umount -l {made.point}")
    machine.run(f"rm {made.conf} {made.image}")


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    """packages(suite) -> the folder where those are that were built in it."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = {}

    def make(suite):
        if suite not in made:
            folder = tmp_path_factory.mktemp(f"packages-{suite}")
            builders.build(suite, folder, tmp_path_factory.mktemp("layer"))
            made[suite] = folder
        return made[suite]

    return make
