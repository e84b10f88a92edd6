# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: what every guest gets, and one guest with a devdax namespace."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import guest as vm  # noqa: E402  (needs the path above)

TESTS = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(os.environ.get("DAXFUSE_BIN", TESTS.parent / "build/dev/bin"))
NVDIMM_MIB = 512


@pytest.fixture(scope="session")
def payload(tmp_path_factory):
    """What is put into each guest: the programs, and the tests."""
    path = tmp_path_factory.mktemp("payload") / "payload.tar"
    programs = sorted(p for p in BIN.glob("*") if p.is_file() and os.access(p, os.X_OK))
    vm.make_payload(path, programs, [(TESTS, "/tests")])
    return path


@pytest.fixture(scope="session")
def make_guest(payload, tmp_path_factory):
    """Boot a guest; the same folder again means the same NVDIMM again."""
    def make(folder):
        nvdimm = folder / "nvdimm.img"
        if not nvdimm.exists():
            vm.make_nvdimm(nvdimm, NVDIMM_MIB)
        return vm.Guest(folder, nvdimm, payload)
    return make


@pytest.fixture(scope="module")
def guest(make_guest, tmp_path_factory):
    """A guest with /dev/dax0.0."""
    with make_guest(tmp_path_factory.mktemp("guest")) as machine:
        machine.run("ndctl create-namespace -f -e namespace0.0 -m devdax -a 2M")
        yield machine
