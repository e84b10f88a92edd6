# SPDX-License-Identifier: BSD-3-Clause
"""
A user's containers, by rootless Podman: root makes a volume for the user, who binds it. The user exists in
a mount namespace of the test only.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.engines import IMAGE, USR, kill_all, make_image, unmount_all
from support.pool import HANG, MIB

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="is several users"),
              pytest.mark.skipif(shutil.which("podman") is None, reason="no podman")]

UID, FIRST, COUNT = 54321, 700_000, 65536

# In a mount namespace of its own: who the user is, and which numbers the user's containers may have.
AS_USER = """
set -e
for name in passwd group subuid subgid; do cp /etc/$name "$1/$name" 2>/dev/null || : >"$1/$name"; done
echo "jo:x:{uid}:{uid}::$1/home:/bin/sh" >>"$1/passwd"
echo "jo:x:{uid}:" >>"$1/group"
for name in subuid subgid; do echo "jo:{first}:{count}" >>"$1/$name"; [ -e /etc/$name ] || : >/etc/$name; done
for name in passwd group subuid subgid; do mount --bind "$1/$name" "/etc/$name"; done
export HOME="$1/home" XDG_RUNTIME_DIR="$1/run" CONTAINERS_CONF="$1/home/containers.conf"
export PODMAN_IGNORE_CGROUPSV1_WARNING=1
shift; cd /
exec setpriv --reuid {uid} --regid {uid} --clear-groups "$@"
""".format(uid=UID, first=FIRST, count=COUNT)


class Rootless:
    def __init__(self, folder):
        self.folder = folder
        for name in ("home", "run"):
            (folder / name).mkdir(mode=0o700)
            os.chown(folder / name, UID, UID)
        (folder / "home/containers.conf").write_text("""
            [containers]
            default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
            [engine]
            runtime = "runc"
            cgroup_manager = "cgroupfs"
            events_logger = "file"
            lock_type = "file"
            """)
        os.chmod(folder / "home/containers.conf", 0o644)

    def run(self, *words, code=0):
        done = subprocess.run(["unshare", "-m", "bash", "-c", AS_USER, "as-user", self.folder, "podman", *map(str, words)],
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=HANG)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def script(self, path, script, *options):
        return self.run("run", "--rm", "--network", "none", "-v", f"{path}:/d", *USR, *options, IMAGE, "sh", "-c", script)


@pytest.fixture(scope="module")
def podman(pool, huge_dir, tmp_path_factory):
    """The pool is mounted before: of a private mount the user's namespaces see only what was there first."""
    folder = huge_dir / "rootless"
    folder.mkdir(mode=0o755)
    podman = Rootless(folder)
    tar = make_image(tmp_path_factory.mktemp("image"))
    shutil.copy(tar, folder / "image.tar")
    try:
        podman.run("import", "-q", folder / "image.tar", IMAGE)
        yield podman
        podman.run("system", "migrate")  # ends the process that keeps its namespaces
    finally:
        kill_all(folder)
        unmount_all(folder)
        shutil.rmtree(folder)


@pytest.fixture
def volume(pool):
    """volume(name, *options) -> its path."""
    os.chmod(pool.point, 0o755)
    names = []

    def make(name, *options):
        names.append(name)
        words = [word for option in options for word in ("-o", option)]
        return Path(pool.run("daxfuse", "volume", "create", *words, pool.point, name).strip())

    yield make
    for name in names:
        pool.run("daxfuse", "volume", "rm", "--wait", pool.point, name)


def test_a_users_volume(podman, volume):
    """Root of the container is the user outside; the size holds."""
    path = volume("of-jo", "size=16M", f"uid={UID}", f"gid={UID}", "mode=700")
    assert podman.script(path, "echo mine >/d/f; cat /d/f; stat -c %u /d/f") == "mine\n0\n"
    assert (path / "f").stat().st_uid == UID
    said = podman.script(path, "df -k /d | tail -n 1; dd if=/dev/zero of=/d/fill bs=1M count=40 2>&1; stat -c %s /d/fill")
    assert "16384" in said and "quota exceeded" in said.lower() and int(said.split()[-1]) <= 16 * MIB
    assert podman.script(path, "rm /d/fill; ls /d") == "f\n"


def test_another_user_of_the_container(podman, volume):
    """Number 1000 inside is the first of /etc/subuid plus 999."""
    path = volume("of-1000", "size=4M", f"uid={FIRST + 999}", "mode=700")
    assert podman.script(path, "id -u; echo mine >/d/f; cat /d/f", "-u", "1000") == "1000\nmine\n"
    assert (path / "f").stat().st_uid == FIRST + 999


def test_it_controls_nothing(podman, volume, pool):
    path = volume("of-jo", "size=16M", f"uid={UID}", f"gid={UID}")
    binds = ("-v", f"{pool.bin_dir}:/daxfuse:ro")
    said = podman.script(path, "for words in 'quota /d 2000000000 --bytes 1G' 'quota /d 7 --assign' 'restart /d' "
                               "'label /d evil' 'watch --once /d'; do /daxfuse/daxfuse $words >/dev/null 2>&1; echo $?; "
                               "done; chattr -p 5 /d 2>&1; chattr -P /d 2>&1; true", *binds)
    assert said.split("\n")[:5] == ["1"] * 5 and said.count("chattr:") == 2


def test_other_users_volumes_are_closed(podman, volume, pool):
    """Their names are not seen, and modes count."""
    path = volume("of-somebody", "size=4M", "uid=33", "mode=700")
    said = podman.script(path, "ls /d 2>&1; echo x >/d/f; true")
    assert "denied" in said.lower() and list(path.iterdir()) == []
    said = podman.script(pool.point, "ls /d/volumes 2>&1; true")
    assert "denied" in said.lower()
