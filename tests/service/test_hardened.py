# SPDX-License-Identifier: BSD-3-Clause
"""What the unit takes from the daemon is not missed: functional tests on mounts that were made with it
(hardened.py, which runs all of them)."""

import os

import pytest

import hardened

# A choice that is about what a sandbox could forbid: files and their ranges, locks, signals, namespaces.
CHOICE = ["files", "locks", "sparse", "mounts"]


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    machine = hardened.make_machine(tmp_path_factory.mktemp("host"))
    yield machine
    machine.close()


def test_functional(host):
    assert len(hardened.properties()) > 15
    done = hardened.run(host, [f"tests/functional/test_{name}.py" for name in CHOICE], 900)
    assert done.returncode == 0, done.stdout[-6000:]
    assert " passed" in done.stdout
    assert "Started daxfuse-test-" in host.journal()
