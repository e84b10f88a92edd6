# SPDX-License-Identifier: BSD-3-Clause
"""Engines in a machine that boots: what docs/guide/first-volume.md shows, word for word, from the package to
a database that survives; and the order of a boot. The machine has this host's files, and so its engines."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import machine as machines
from machine import Unit, until

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs/guide/first-volume.md"
LIMIT = 300

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
              pytest.mark.skipif(not all(map(shutil.which, ("dockerd", "podman"))), reason="needs both engines"),
              pytest.mark.skipif("VERSION_CODENAME=bookworm" not in Path("/etc/os-release").read_text(),
                                 reason="the host's engines must run with the host's systemd")]

# nspawn lets a machine look at the controllers of cgroups, engines write to them. And what they need where
# there is no network, no overlayfs on overlayfs, and no CAP_SYS_RESOURCE.
MACHINE = {
    **{f"etc/systemd/system/{name}.service.d/machine.conf":
       "[Service]\nExecStartPre=-/bin/sh -c 'for i in /sys/fs/cgroup/*/ /sys/fs/cgroup; "
       "do mount -o remount,bind,rw $i; done'\n" for name in ("containerd", "podman-restart")},
    "etc/docker/daemon.json": '{"iptables": false, "ip6tables": false, "bridge": "none", "storage-driver": "vfs"}',
    "etc/containers/storage.conf": '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\n'
                                   'graphroot = "/var/lib/containers/storage"\n',
    "etc/containers/containers.conf": '[containers]\ndefault_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]\n'
                                      '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\n'
                                      'events_logger = "file"\n[engine.volume_plugins]\n'
                                      'daxfuse = "/run/docker/plugins/daxfuse.sock"\n',
}
ENTRYPOINT = """#!/bin/sh
[ -s "$PGDATA/PG_VERSION" ] || initdb -U postgres -A trust >/dev/null
exec "$@"
"""


def libraries_of(paths):
    said = subprocess.run(["ldd", *paths], capture_output=True, text=True).stdout
    return set(re.findall(r"(?:=> )?(/\S+) \(0x", said))


def make_image(folder):
    """Debian's PostgreSQL with what it needs, as a tar, in the way of the image of that name."""
    (home,) = sorted(Path("/usr/lib/postgresql").glob("*"))[-1:]
    files = [path for part in ("bin", "lib") for path in (home / part).glob("*")
             if path.is_file() and "llvmjit" not in path.name]
    root = folder / "image"
    copies = [*files, *libraries_of(files), Path("/usr/share/postgresql") / home.name, "/usr/share/zoneinfo/Etc"]
    for path in map(Path, copies):
        place = root / path.relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-aL", path, place], check=True)
    for name in ("bin", "etc", "tmp", "proc", "sys", "dev", "run/postgresql", "var/lib/postgresql/data"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "var/run").symlink_to("/run")
    shutil.copy("/bin/busybox", root / "bin")
    for name in ("sh", "df", "cat", "sleep", "tail", "locale"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\npostgres:x:999:\n")
    (root / "entrypoint").write_text(ENTRYPOINT)
    (root / "entrypoint").chmod(0o755)
    (root / "tmp").chmod(0o1777)
    for name in ("run/postgresql", "var/lib/postgresql/data"):
        os.chown(root / name, 999, 999)
    subprocess.run(["tar", "-C", root, "-cf", folder / "image.tar", "."], check=True)
    shutil.rmtree(root)
    return (folder / "image.tar", "--change 'USER postgres' --change 'ENTRYPOINT [\"/entrypoint\"]' "
            f"--change 'CMD [\"postgres\"]' --change 'ENV PATH={home}/bin:/bin PGDATA=/var/lib/postgresql/data'")


@pytest.fixture(scope="module")
def host(packages, tmp_path_factory):
    """A machine of a stranger: with packages in root's folder, and an image that needs no download."""
    folder = tmp_path_factory.mktemp("host")
    machine = machines.Machine("/", folder)
    for name in ("etc/systemd/system", "var/lib/docker", "var/lib/containerd", "var/lib/containers", "etc/daxfuse"):
        shutil.rmtree(machine.root / name, ignore_errors=True)
    for name, text in MACHINE.items():
        (machine.root / name).parent.mkdir(parents=True, exist_ok=True)
        (machine.root / name).write_text(text)
    (machine.root / "etc/fstab").write_text("")
    for package in packages("bookworm").glob("*.deb"):
        shutil.copy(package, machine.root / "root")
    tar, changes = make_image(folder)
    shutil.copy(tar, machine.root / "opt/image.tar")
    tar.unlink()
    boot(machine)
    machine.run(f"""systemctl enable --now docker containerd
        docker import {changes} /opt/image.tar postgres
        podman import -q {changes} /opt/image.tar postgres""")
    yield machine
    machine.close()


def boot(machine):
    machine.boot("--unit=multi-user.target", calls="@keyring")


def reboot(machine):
    machine.power_off()
    boot(machine)


def steps():
    """Of the guide: each command, and the lines that it is shown to print."""
    found = []
    for line in GUIDE.read_text().splitlines():
        if line.startswith("    # "):
            found.append((line[6:], []))
        elif line.startswith("    "):
            found[-1][1].append(line.split())
    return found


def is_in_order(words, line):
    rest = iter(line.split())
    return all(word in rest for word in words)


def take_step(machine, command, lines):
    """It may have to wait for what is started again."""
    if command == "reboot":
        reboot(machine)
        return ""

    def attempt():
        done = machine.try_run(f"cd /root; {command}", LIMIT)
        good = done.returncode == 0 and all(any(is_in_order(words, line) for line in done.stdout.splitlines())
                                            for words in lines)
        attempt.said = f"# {command}\n{done.stdout}{done.stderr}"
        return good

    if command.startswith("docker exec"):
        until(attempt, LIMIT, command)
    else:
        assert attempt(), attempt.said + machine.journal()
    return attempt.said


def started(machine, unit):
    return int(Unit(machine, unit).get("ActiveEnterTimestampMonotonic"))


def test_the_guide(host):
    """And the power is cut in the end. DAXFUSE_TRANSCRIPT=FILE keeps what was said."""
    said = [take_step(host, *step) for step in steps()]
    if "DAXFUSE_TRANSCRIPT" in os.environ:
        Path(os.environ["DAXFUSE_TRANSCRIPT"]).write_text("".join(said))
    host.kill()
    boot(host)
    take_step(host, *[step for step in steps() if "select count" in step[0]][-1])
    assert (started(host, "daxfuse@pm.service") < started(host, "daxfuse-volumes.socket")
            < started(host, "docker.service"))


WRITER = "trap exit TERM; i=0; while :; do i=$((i+1)); echo $i >>/d/log; sleep 0.1; done"


UNITS = {"docker": "docker.service", "podman": "podman-restart.service"}


def begin_writer(machine, engine):
    driver = "-d" if engine == "docker" else "--driver"
    machine.run(f"""{engine} volume create {driver} daxfuse -o size=16M for-{engine}
        {engine} run -d --name writer --user 0 -e PATH=/bin --entrypoint /bin/sh --restart always \\
            -v for-{engine}:/d postgres -c '{WRITER}'""")


def lines_of(machine, engine):
    return int(machine.run(f"cat /mnt/pm/volumes/for-{engine}/log | wc -l"))


def test_containers_come_up_with_their_data(host):
    """After a reboot, by themselves, in time for their volumes; they write into the pool, not beneath it."""
    if Unit(host, "daxfuse@pm.service").state() != "active":
        for step in steps()[:8]:
            take_step(host, *step)
    host.run("systemctl add-wants multi-user.target podman-restart")
    before = {}
    for engine in UNITS:
        begin_writer(host, engine)
        until(lambda name=engine: lines_of(host, name) > 0, LIMIT, "a first line")
        before[engine] = lines_of(host, engine)
    reboot(host)
    for engine, unit in UNITS.items():
        begun = lines_of(host, engine)
        assert begun >= before[engine]
        until(lambda name=engine, least=begun + 2: lines_of(host, name) > least, LIMIT, f"{engine}'s container")
        assert started(host, "daxfuse@pm.service") < started(host, "daxfuse-volumes.socket") < started(host, unit)
        until(lambda name=engine: host.try_run(f"{name} rm -f writer").returncode == 0, LIMIT, "an end")
        host.run(f"{engine} volume rm for-{engine}")
    host.run("""mkdir /tmp/beneath; mount --bind /mnt /tmp/beneath
        test -z "$(ls -A /tmp/beneath/pm)"; umount /tmp/beneath; rmdir /tmp/beneath""")
