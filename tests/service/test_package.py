# SPDX-License-Identifier: BSD-3-Clause
"""The Debian packages: built, looked at by lintian, and in clean machines installed, upgraded under a
program that writes, removed and purged."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import machine as machines
from machine import Pool, Writer, until
from packages import BUILD_LIMIT

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("daxfuse", "libdaxmap0", "libdaxmap-dev")


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def suite(request):
    return request.param


@pytest.fixture(scope="module")
def built(suite, packages):
    return packages(suite)


def make_newer(built, folder):
    """The same package with a higher version."""
    (package,) = built.glob("daxfuse_*.deb")
    subprocess.run(["dpkg-deb", "-R", package, folder / "tree"], check=True)
    control = folder / "tree/DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*", "Version: 0.1.1-1", control.read_text(), flags=re.M))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", folder / "tree", folder / "newer.deb"],
                   check=True, capture_output=True)
    return folder / "newer.deb"


@pytest.fixture
def clean(suite, built, make_machine, tmp_path_factory):
    """A machine that has never heard of daxfuse, with the packages of its suite in a folder."""
    machine = make_machine(suite, prefix=None)
    folder = machine.root / "opt/packages"
    folder.mkdir(parents=True)
    for name in NAMES:
        (package,) = built.glob(f"{name}_*.deb")
        shutil.copy(package, folder / f"{name}.deb")
    shutil.copy(make_newer(built, tmp_path_factory.mktemp("newer")), folder / "newer.deb")
    yield machine.boot()
    machine.close()


def test_lintian(built):
    said = {line for line in (built / "lintian").read_text().splitlines() if "initial-upload" not in line}
    assert said == set()


def test_contents(suite, built):
    """The module's source for DKMS, each library where its package's name says, and the libfuse that it
    is linked with: the system's, where that is new enough."""
    def files(name):
        (package,) = built.glob(f"{name}_*.deb")
        return machines.call("dpkg-deb", "-c", package)
    assert "/usr/src/daxview-" in files("daxfuse-dkms") and "dkms.conf" in files("daxfuse-dkms")
    assert "libdaxmap.so.0" in files("libdaxmap0") and "libdaxmap.so.0" not in files("daxfuse")
    assert "daxmap.pc" in files("libdaxmap-dev") and "daxmap.h" in files("libdaxmap-dev")
    (package,) = built.glob("daxfuse_*.deb")
    depends = machines.call("dpkg-deb", "-f", package, "Depends")
    assert ("libfuse3" in depends) == (suite != "bookworm"), depends


# In the root where kernels' headers are: what an earlier test has built there is not of this package.
WITH_HEADERS = """
	set -e
	mount --make-rprivate /
	mount -t proc proc "$1/proc"
	rm -rf "$1"/usr/src/daxview-* "$1"/var/lib/dkms/daxview
	cp "$2" "$1/tmp/dkms.deb"
	exec chroot "$1" sh -ec '
		dpkg -i /tmp/dkms.deb
		echo "== $(ls /lib/modules | wc -l) kernels"
		dkms status
		for kernel in /lib/modules/*; do find $kernel -path "*/updates/dkms/daxview.ko*"; done
		dpkg --purge daxfuse-dkms
		echo "== after"
		find /lib/modules /usr/src -name "daxview*"'
"""


def test_the_module(suite, built, tmp_path):
    """DKMS builds it for each kernel whose headers are there when its package is installed."""
    if suite != "trixie":
        pytest.skip("Debian 12 has no kernel that is new enough")
    (package,) = built.glob("daxfuse-dkms_*.deb")
    place = machines.Machine(machines.call(ROOT / "tests/vm/module", "--root").strip(), tmp_path)
    try:
        done = subprocess.run(["unshare", "--mount", "sh", "-c", WITH_HEADERS, "-", place.root, package],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=BUILD_LIMIT)
    finally:
        place.close()
    assert done.returncode == 0, done.stdout
    _, installed, after = done.stdout.split("\n== ")
    kernels = int(installed.split()[0])
    assert kernels >= 2 and installed.count(": installed") == kernels, done.stdout
    assert installed.count("/updates/dkms/daxview.ko") == kernels + installed.count("Deleting /lib"), done.stdout
    assert "/lib/modules" not in after and "/usr/src" not in after


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
