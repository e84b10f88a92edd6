# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: what every guest gets, and one guest with a devdax namespace."""

import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

pytest.register_assert_rewrite("virtiofs")
import guest as vm  # noqa: E402  (needs the path above)

TESTS = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = ("daxfuse", "mkfs.daxfuse", "fsck.daxfuse")
NVDIMM_MIB = 512


@pytest.fixture(scope="session")
def payload(bin_dir, tmp_path_factory):
    """What is put into each guest: the programs, and the tests."""
    path = tmp_path_factory.mktemp("payload") / "payload.tar"
    mapper, registered, sides = (path.parent / name for name in ("daxmap-program", "registered", "sides"))
    libraries = bin_dir.parent / "lib"
    subprocess.run(["cc", "-O1", "-pthread", "-o", mapper, TESTS / "daxmap/program.c"], check=True)
    subprocess.run(["cc", "-O1", "-I", TESTS.parent / "include", "-o", registered,
                    TESTS / "vm/registered.c", libraries / "libdaxmap.so",
                    "-Wl,-rpath,$ORIGIN/../lib"], check=True)
    subprocess.run(["cc", "-O2", "-o", sides, TESTS / "vm/sides.c"], check=True)
    folders = [(TESTS, "/daxfuse/tests"),
               (TESTS.parent / "contrib/touch-pages", "/daxfuse/bin/touch-pages"),
               *((libraries / name, f"/daxfuse/lib/{name}")
                 for name in ("libdaxmap.so.0", "libdaxmap-preload.so"))]
    vm.make_payload(path, [*(bin_dir / program for program in PROGRAMS), mapper, registered, sides], folders)
    return path


@pytest.fixture(scope="session")
def sides(payload):
    """The program sides.c, for the host."""
    return payload.parent / "sides"


@pytest.fixture(scope="session")
def make_guest(payload):
    """make_guest(folder): boot a guest; the same folder again means the same NVDIMM again."""
    def make(folder, **how):
        nvdimm = folder / "nvdimm.img"
        if not nvdimm.exists():
            vm.make_nvdimm(nvdimm, NVDIMM_MIB)
        return vm.Guest(folder, nvdimm, payload, **how)
    return make


@pytest.fixture(scope="session")
def guest(make_guest, tmp_path_factory):
    """A guest with /dev/dax0.0."""
    with make_guest(tmp_path_factory.mktemp("guest")) as machine:
        machine.run(vm.MAKE_NAMESPACE)
        yield machine


@pytest.fixture(scope="session")
def modules(bin_dir, tmp_path_factory):
    """The module, built from what is installed: a folder for each kernel."""
    folder = tmp_path_factory.mktemp("module")
    subprocess.run(["cmake", "--install", bin_dir.parent, "--prefix", folder / "usr"],
                   check=True, stdout=subprocess.DEVNULL)
    (source,) = (folder / "usr/src").glob("daxview-*")
    subprocess.run([TESTS / "vm/module", source, folder / "built"], check=True)
    return folder / "built"
