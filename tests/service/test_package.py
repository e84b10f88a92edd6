# SPDX-License-Identifier: BSD-3-Clause
"""The Debian packages: built, looked at by lintian, and in clean machines installed, upgraded under a
program that writes, removed and purged."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from machine import Pool, Writer, until

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("daxfuse", "libdaxmap0", "libdaxmap-dev")
BUILD_LIMIT = 900


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder where the packages are; DAXFUSE_PACKAGES has some that need not be built."""
    if "DAXFUSE_PACKAGES" in os.environ:
        return Path(os.environ["DAXFUSE_PACKAGES"])
    folder = tmp_path_factory.mktemp("packages")
    with open(folder / "log", "wb") as log:
        done = subprocess.run([ROOT / "contrib/debian/build", folder], stdout=log, stderr=log,
                              timeout=BUILD_LIMIT)
    assert done.returncode == 0, (folder / "log").read_text(errors="replace")[-4000:]
    return folder


@pytest.fixture(scope="module")
def newer(built, tmp_path_factory):
    """The same package with a higher version."""
    folder = tmp_path_factory.mktemp("newer")
    (package,) = built.glob("daxfuse_*.deb")
    subprocess.run(["dpkg-deb", "-R", package, folder / "tree"], check=True)
    control = folder / "tree/DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*", "Version: 0.1.1-1", control.read_text(), flags=re.M))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", folder / "tree", folder / "newer.deb"],
                   check=True, capture_output=True)
    return folder / "newer.deb"


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def clean(request, make_machine, built, newer):
    """A machine that has never heard of daxfuse, with the packages in a folder."""
    machine = make_machine(request.param, prefix=None)
    folder = machine.root / "opt/packages"
    folder.mkdir(parents=True)
    for name in NAMES:
        (package,) = built.glob(f"{name}_*.deb")
        shutil.copy(package, folder / f"{name}.deb")
    shutil.copy(newer, folder / "newer.deb")
    yield machine.boot()
    machine.close()


def test_lintian(built):
    (changes,) = built.glob("*.changes")
    done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error", changes],
                          capture_output=True, text=True)
    said = {line for line in done.stdout.splitlines() if "initial-upload" not in line}
    assert done.returncode == 0 and said == set(), done.stdout


def test_contents(built):
    """The module's source for DKMS, and each library where its package's name says."""
    def files(name):
        (package,) = built.glob(f"{name}_*.deb")
        return subprocess.run(["dpkg-deb", "-c", package], check=True, capture_output=True,
                              text=True).stdout
    assert "/usr/src/daxview-" in files("daxfuse-dkms") and "dkms.conf" in files("daxfuse-dkms")
    assert "libdaxmap.so.0" in files("libdaxmap0") and "libdaxmap.so.0" not in files("daxfuse")
    assert "daxmap.pc" in files("libdaxmap-dev") and "daxmap.h" in files("libdaxmap-dev")


def test_a_life(clean):
    """In this order, as each step needs the one before."""
    machine = clean
    install = "DEBIAN_FRONTEND=noninteractive dpkg -i /opt/packages"
    machine.run(f"{install}/daxfuse.deb {' '.join(f'/opt/packages/{name}.deb' for name in NAMES[1:])}")
    assert machine.run("systemctl is-enabled daxfuse-volumes.socket || :").strip() == "disabled"
    pool = Pool(machine, "one", enable=True)
    machine.run("""mkdir /mnt/two; truncate -s 64M /var/lib/two.pool; mkfs.daxfuse -q /var/lib/two.pool
        echo '/var/lib/two.pool /mnt/two daxfuse nofail 0 0' >> /etc/fstab; mount /mnt/two""")
    pool.systemctl("start")
    pool.works()

    with Writer(machine, "/mnt/one/file") as one, Writer(machine, "/mnt/two/file") as two:
        before = pool.main_pid()
        said = machine.run(f"{install}/newer.deb 2>&1")
        assert "goes on with the program" not in said, said
        assert pool.main_pid() == before
        # both are served by the new program
        for point in (pool.point, "/mnt/two"):
            serves = json.loads(machine.run(f"daxfuse status {point}"))["mount"]["pid"]
            assert machine.run(f"readlink /proc/{serves}/exe") == "/usr/bin/daxfuse\n"

        refused = machine.try_run("dpkg -r daxfuse")
        assert refused.returncode != 0 and "unmount first" in refused.stderr, refused
        one.finish()
        two.finish()
    until(lambda: pool.state() == "active", 60, "the pool that was not stopped")
    machine.run("systemctl stop daxfuse@one; umount /mnt/two; dpkg -r daxfuse")
    assert machine.try_run("command -v daxfuse mkfs.daxfuse").returncode != 0
    machine.run("test -e /etc/daxfuse/one.conf; systemctl daemon-reload")
    machine.run("rm /etc/daxfuse/one.conf; dpkg --purge daxfuse libdaxmap-dev libdaxmap0")
    left = machine.run("find / -xdev -name '*daxfuse*' -o -xdev -name '*daxmap*' | "
                       "grep -v '^/proc\\|^/opt/packages\\|^/var/log\\|target.wants' || :")
    assert left == ""
