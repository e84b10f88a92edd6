# SPDX-License-Identifier: BSD-3-Clause
"""What the unit takes from the daemon is not missed: functional tests on mounts that were made with it.
They run in a machine of this host's own files, which has all that they need."""

import os
import shlex
import shutil
from pathlib import Path

import pytest

import machine as machines

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(os.environ.get("DAXFUSE_BIN", ROOT / "build" / os.environ.get("DAXFUSE_PRESET", "dev") / "bin"))
# A choice that is about what a sandbox could forbid: files and their ranges, locks.
CHOICE = ("files", "locks", "sparse")

# In place of daxfuse: a mount is a service of its own, with what the unit says.
WRAPPER = """#!/bin/bash
for word; do [ "$word" != -f ] || mounts=yes; done
if [ -n "${{mounts-}}" ]; then
	exec systemd-run --quiet --wait --pipe --collect -p WorkingDirectory="$PWD" {properties} \\
		{programs}/daxfuse "$@"
fi
exec {programs}/daxfuse "$@"
"""


def hardening():
    """The lines of the unit's sandbox."""
    text = (ROOT / "contrib/systemd/daxfuse@.service.in").read_text()
    lines = text[text.index("NoNewPrivileges="):text.index("[Install]")].splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    machine = machines.Machine("/", tmp_path_factory.mktemp("host"))
    shutil.rmtree(machine.root / "etc/systemd/system")
    (machine.root / "etc/fstab").write_text("")
    folder = machine.root / "opt/hardened"
    folder.mkdir(parents=True)
    for program in PROGRAMS.iterdir():
        if program.name != "daxfuse":
            (folder / program.name).symlink_to(program)
    wrapper = folder / "daxfuse"
    wrapper.write_text(WRAPPER.format(
        programs=PROGRAMS, properties=" ".join(f"-p {shlex.quote(line)}" for line in hardening())))
    wrapper.chmod(0o755)
    yield machine.boot("--unit=basic.target")
    machine.close()


def test_functional(host):
    assert len(hardening()) > 15
    modules = " ".join(f"tests/functional/test_{name}.py" for name in CHOICE)
    done = host.try_run(f"cd {ROOT}; DAXFUSE_BIN=/opt/hardened /usr/bin/python3 -m pytest -q -p no:cacheprovider "
                        f"{modules}", limit=900)
    assert done.returncode == 0, done.stdout[-6000:]
    assert " passed" in done.stdout
    assert "Started run-" in host.journal()
