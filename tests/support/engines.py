# SPDX-License-Identifier: BSD-3-Clause
"""
Docker and Podman, each with folders of its own, so that they meet no other instance. They run where
there is no systemd, and no CAP_SYS_RESOURCE: with runc, cgroups as they are, and no network.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from support.plugin import SLOW
from support.pool import HANG

IMAGE = "empty:1"
# The host's programs and libraries stand in for an image's.
USR = ("-v", "/usr:/usr:ro")


class EngineError(Exception):
    """A command failed; what it said."""


def make_image(folder):
    """A root file system without anything in it but links into /usr, and something at /full."""
    root = folder / "image"
    for name in ("proc", "sys", "dev", "tmp", "etc", "run", "usr", "full"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "full/of-the-image").write_text("copied")
    for path in (root / "full", root / "full/of-the-image"):
        os.chown(path, 33, 33)
    os.chmod(root / "full", 0o750)
    subprocess.run(["tar", "-C", root, "-cf", folder / "image.tar", "."], check=True)
    return folder / "image.tar"


def kill_all(folder):
    """Processes that have this folder in their command line: those of one instance, wherever their parents
    have gone."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            if os.fsencode(folder) in words and int(process.name) != os.getpid():
                os.kill(int(process.name), signal.SIGKILL)
        except (OSError, ProcessLookupError):
            pass


def unmount_all(folder):
    with open("/proc/self/mounts") as table:
        points = [line.split()[1] for line in table if line.split()[1].startswith(f"{folder}/")]
    for point in sorted(points, reverse=True):
        subprocess.run(["umount", "-l", point], capture_output=True)


class Engine:
    """Commands that both have; `driver` is the plugin's name."""

    def __init__(self, folder, driver, socket):
        self.folder, self.driver, self.socket = Path(folder), driver, socket
        self.folder.mkdir()
        self.env = dict(os.environ)

    def command(self, *words):
        raise NotImplementedError

    def run(self, *words, code=0):
        end = time.monotonic() + HANG
        while True:
            done = subprocess.run(self.command(*words), env=self.env, capture_output=True, text=True,
                                  stdin=subprocess.DEVNULL, timeout=HANG)
            # the plugin gives a request less than a second, which may be too little on a busy machine
            if not done.returncode or SLOW not in done.stderr or time.monotonic() > end:
                break
        if code == 0 and done.returncode:
            raise EngineError(done.stderr)
        return done.stdout if code == 0 else done.stderr

    def status(self, *words):
        """A command's exit status."""
        return subprocess.run(self.command(*words), env=self.env, capture_output=True, stdin=subprocess.DEVNULL,
                              timeout=HANG).returncode

    def create(self, name, *options):
        words = [word for option in options for word in ("-o", option)]
        return self.run("volume", "create", "--driver", self.driver, *words, name)

    def volumes(self):
        out = self.run("volume", "ls", "--format", "{{.Driver}} {{.Name}}")
        return {line.split()[1] for line in out.splitlines() if line.split()[0] == self.driver}

    def inspect(self, name):
        return json.loads(self.run("volume", "inspect", name))[0]

    def script(self, volume, script, *options):
        """A shell script in a container that has the volume at /d; its output."""
        return self.run("run", "--rm", "--network", "none", "-v", f"{volume}:/d", *USR, *options, IMAGE,
                        "sh", "-c", script)

    def begin(self, name, volume, script, *options):
        self.run("run", "-d", "--stop-timeout", "1", "--name", name, "--network", "none", "-v", f"{volume}:/d", *USR, *options, IMAGE,
                 "sh", "-c", script)

    def pid(self, name):
        return int(self.run("inspect", "--format", "{{.State.Pid}}", name))

    def is_running(self, name):
        return self.run("inspect", "--format", "{{.State.Running}}", name).strip() == "true"

    def remove(self, name):
        self.run("rm", "-f", name)

    def close(self):
        kill_all(self.folder)
        for _ in range(100):
            unmount_all(self.folder)
            try:
                shutil.rmtree(self.folder)
                return
            except OSError:
                time.sleep(0.05)
        shutil.rmtree(self.folder)


CONTAINERD = """
version = 2
root = "{0}/containerd"
state = "{0}/exec/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{0}/containerd.sock"
"""


class Docker(Engine):
    """dockerd and its containerd, as children: where nobody reaps the orphans of a killed dockerd, one that
    it has started itself would keep the next one from starting its own."""

    name = "docker"

    def __init__(self, *args):
        super().__init__(*args)
        self.env["DOCKER_HOST"] = f"unix://{self.folder}/docker.sock"
        self.env["DOCKER_CONFIG"] = str(self.folder / "config")
        (self.folder / "containerd.toml").write_text(CONTAINERD.format(self.folder))
        self.daemon = self.containerd = None
        self.start()

    def command(self, *words):
        return ["docker", *map(str, words)]

    def start_containerd(self):
        with open(self.folder / "log", "ab") as log:
            self.containerd = subprocess.Popen(["containerd", "--config", self.folder / "containerd.toml"],
                                               stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start(self):
        (self.folder / "docker.pid").unlink(missing_ok=True)
        if self.containerd is None:
            self.start_containerd()
        with open(self.folder / "log", "ab") as log:
            self.daemon = subprocess.Popen(
                ["dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none",
                 "--data-root", self.folder / "data", "--exec-root", self.folder / "exec",
                 "--containerd", self.folder / "containerd.sock", "--pidfile", self.folder / "docker.pid",
                 "-H", self.env["DOCKER_HOST"]],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + HANG
        while subprocess.run(self.command("info"), env=self.env, capture_output=True).returncode:
            assert self.daemon.poll() is None and time.monotonic() < end, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.05)

    def load(self, tar):
        self.run("import", tar, IMAGE)

    def stop(self):
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.wait(HANG)

    def kill(self):
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait(HANG)

    def lose_machine(self, containers):
        """All processes, and what lies in /run and in the kernel."""
        pids = [self.pid(name) for name in containers if self.is_running(name)]
        self.kill()
        self.end_containerd()
        kill_all(self.folder)  # shims
        for pid in pids:
            kill_and_wait(pid)
        unmount_all(self.folder)
        shutil.rmtree(self.folder / "exec", ignore_errors=True)
        (self.folder / "docker.sock").unlink(missing_ok=True)

    def end_containerd(self):
        self.containerd.kill()
        self.containerd.wait(HANG)
        self.containerd = None

    def close(self):
        if self.daemon.poll() is None:
            for name in self.run("ps", "-aq").split():
                self.run("rm", "-f", name, code=None)
            self.stop()
        if self.containerd:
            self.end_containerd()
        super().close()


class Podman(Engine):
    """No daemon: each command is all of it."""

    name = "podman"

    def __init__(self, *args):
        super().__init__(*args)
        config = self.folder / "containers.conf"
        hard = min(20000, int(subprocess.run(["bash", "-c", "ulimit -Hn"], capture_output=True, text=True).stdout))
        config.write_text(f"""
            [containers]
            default_ulimits = ["nofile={hard}:{hard}", "nproc=32768:32768"]
            [engine]
            lock_type = "file"
            runtime = "runc"
            cgroup_manager = "cgroupfs"
            events_logger = "file"
            [engine.volume_plugins]
            {self.driver} = "{self.socket}"
            """)
        self.env |= {"CONTAINERS_CONF": str(config), "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}

    def command(self, *words):
        return ["podman", "--root", str(self.folder / "data"), "--runroot", str(self.folder / "run"),
                "--tmpdir", str(self.folder / "tmp"), *map(str, words)]

    def load(self, tar):
        self.run("import", "-q", tar, IMAGE)

    def start(self):
        pass

    def remove(self, name):
        try:
            self.run("rm", "-f", "-t", "0", name)
        except EngineError:  # what is dead without its watcher's knowledge is only put right by that
            self.run("rm", "-f", "-t", "0", name)

    def lose_machine(self, containers):
        pids = [self.pid(name) for name in containers if self.is_running(name)]
        ids = [self.run("inspect", "--format", "{{.Id}}", name).strip() for name in containers]
        kill_all(self.folder)  # conmon
        for pid in pids:
            kill_and_wait(pid)
        for number in ids:
            subprocess.run(["runc", "delete", "--force", number], capture_output=True)
        unmount_all(self.folder)
        for name in ("run", "tmp"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def close(self):
        self.run("rm", "-fa", "-t", "0", code=None)
        super().close()


def kill_and_wait(pid):
    """Of a process that need not be our child."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        end = time.monotonic() + HANG
        while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
            assert time.monotonic() < end
            time.sleep(0.01)
    except (ProcessLookupError, FileNotFoundError):
        pass
    finally:
        os.close(fd)
