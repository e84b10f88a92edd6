# SPDX-License-Identifier: BSD-3-Clause
"""
A machine with a systemd of its own: systemd-nspawn boots a clean Debian (tests/service/tree), into
which daxfuse was installed, in seconds. What is written goes into a layer in memory; nothing of it
is left. Pools are files in the machine's memory: there is no /dev/dax in a container.
"""

import contextlib
import ctypes
import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BOOT_LIMIT = 180
RUN_LIMIT = 240
HANG = 240
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None)

# What a container is to a pool: a folder of it is mounted in a namespace that nothing spreads to.
HOLDER = ("unshare --mount --propagation private sh -c 'mount --bind {} /media && touch /run/held && exec sleep 10000' "
          "> /run/holder 2>&1 & until test -e /run/held; do sleep 0.1; done; rm /run/held")


def die_with_parent():
    """A test run that is killed must not leave machines behind."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def call(*words, **kwargs):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, **kwargs).stdout


def until(ask, seconds=60, what="it"):
    """ask()'s first answer that is true. A limit is for what hangs: the machine may be a busy one."""
    end = time.monotonic() + max(seconds, HANG)
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < end, f"{what}: not within {max(seconds, HANG)} s"
        time.sleep(0.02)


class Machine:
    """`root` is its root folder, as seen from outside."""

    numbers = itertools.count(os.getpid() * 100)

    def __init__(self, tree, folder):
        self.number = next(self.numbers)
        self.folder = Path(folder)
        self.layer = self.folder / "layer"
        self.root = self.folder / "root"
        self.log = self.folder / "console"
        self.nspawn = None
        self.leader = 0
        for path in (self.layer, self.root):
            path.mkdir(parents=True)
        call("mount", "-t", "tmpfs", "-o", "size=2G,mode=755", "daxfuse-machine", self.layer)
        for name in ("upper", "work"):
            (self.layer / name).mkdir()
        call("mount", "-t", "overlay", "-o",
             f"lowerdir={tree},upperdir={self.layer}/upper,workdir={self.layer}/work",
             "daxfuse-machine", self.root)
        shutil.copy(HERE / "writer.py", self.root / "usr/local/lib")

    def install(self, build, prefix="/usr"):
        """What cmake --install leaves under the prefix."""
        call("cmake", "--install", build, "--prefix", prefix,
             env={**os.environ, "DESTDIR": str(self.root)})

    # ---- life

    def boot(self, *arguments, devices=(), calls=""):
        """`arguments` are its systemd's; `devices` of this host are its, too; `calls` are system calls
        that it may make beside those of any container."""
        options = [f"--bind={path}" for path in ("/dev/fuse", "/dev/autofs", *devices)]
        if calls:
            options.append(f"--system-call-filter={calls}")
        with open(self.log, "ab") as log:
            self.nspawn = subprocess.Popen(
                ["systemd-nspawn", "--quiet", "--boot", "-D", self.root, "--register=no",
                 "--keep-unit", "--private-network", *options,
                 f"--machine=daxfuse-{self.number}", "--resolv-conf=off", "--timezone=off", "--",
                 *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent)
        self.leader = until(self.find_leader, BOOT_LIMIT, "the machine's first process")
        until(self.has_booted, BOOT_LIMIT, "the machine's boot")
        return self

    def find_leader(self):
        assert self.nspawn.poll() is None, self.console()
        path = Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children")
        for pid in path.read_text().split():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid"):
                    return int(pid)
        return None

    def has_booted(self):
        assert self.nspawn.poll() is None, self.console()
        return self.try_run("systemctl is-system-running").stdout.strip() in ("running", "degraded")

    def power_off(self):
        """As an administrator does; seconds that it took."""
        start = time.monotonic()
        self.try_run("systemctl --no-block poweroff")
        try:
            self.nspawn.wait(RUN_LIMIT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not go off:\n{self.processes()}\n{self.console()}") from None
        self.nspawn = None
        return time.monotonic() - start

    def processes(self):
        """What runs in it, and where in the kernel each one is."""
        said = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(path / "ns/pid") == os.readlink(f"/proc/{self.leader}/ns/pid"):
                    words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    said.append(f"{path.name} {words or (path / 'comm').read_text()}\n"
                                f"{(path / 'stack').read_text()}")
        return "\n".join(said)

    def kill(self):
        """The power goes."""
        if self.nspawn is not None:
            self.nspawn.kill()
            self.nspawn.wait()
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.leader, signal.SIGKILL)
            self.nspawn = None

    def close(self):
        self.kill()
        for path in (self.root, self.layer):
            subprocess.run(["umount", "-R", "-l", path], capture_output=True)

    def console(self):
        return self.log.read_text(errors="replace")[-4000:]

    # ---- commands

    def command(self, script):
        return ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-r", "-w", "-C",
                "env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
                "SYSTEMD_PAGER=cat", "bash", "-c", script]

    def try_run(self, script, limit=RUN_LIMIT):
        """A shell script in the machine, whatever comes of it."""
        return subprocess.run(self.command(script), capture_output=True, text=True, timeout=limit,
                              stdin=subprocess.DEVNULL)

    def run(self, script, limit=RUN_LIMIT):
        """One that must succeed; its stdout."""
        done = self.try_run("set -e -o pipefail\n" + script, limit)
        assert done.returncode == 0, (
            f"{script}\nexit {done.returncode}\n{done.stdout}{done.stderr}\n{self.journal()}")
        return done.stdout

    def start(self, script):
        """One that goes on beside us."""
        return subprocess.Popen(self.command(script), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                text=True)

    def journal(self, unit=None):
        words = ["journalctl", "--no-pager", "-b", "-n", "200", "-o", "cat"]
        return self.try_run(shlex.join(words + (["-u", unit] if unit else []))).stdout


class Unit:
    """A unit of the machine."""

    def __init__(self, machine, name):
        self.machine = machine
        self.name = name

    def get(self, key):
        return self.machine.run(f"systemctl show -P {key} '{self.name}'").strip()

    def state(self):
        return self.get("ActiveState")

    def main_pid(self):
        """As the machine counts; never 0, which kill(1) would take for its own group."""
        pid = self.get("MainPID")
        assert pid != "0", self.machine.journal(self.name)
        return pid

    def systemctl(self, verb, code=0):
        done = self.machine.try_run(f"systemctl {verb} '{self.name}'")
        assert code is None or (done.returncode == 0) == (code == 0), (
            f"systemctl {verb}: {done.returncode}\n{done.stdout}{done.stderr}\n"
            f"{self.machine.journal(self.name)}")
        return done


class Pool(Unit):
    """A pool on a file in the machine's memory, and its daxfuse@.service."""

    def __init__(self, machine, name, options="", mib=64, place="/var/lib", enable=False):
        super().__init__(machine, f"daxfuse@{name}.service")
        self.image = f"{place}/{name}.pool"
        self.point = f"/mnt/{name}"
        self.conf = f"/etc/daxfuse/{name}.conf"
        machine.run(f"""mkdir -p /etc/daxfuse {self.point} {place}
            truncate -s {mib}M {self.image}; mkfs.daxfuse -q {self.image}
            printf 'DEVICE=%s\\nMOUNTPOINT=%s\\n%s\\n' {self.image} {self.point} \
                {shlex.quote(options)} > {self.conf}
            systemctl daemon-reload""")
        if enable:
            self.systemctl("enable")

    def is_mounted(self):
        return self.places() > 0

    def places(self):
        """How many mounts lie there, one on the other."""
        table = self.machine.run("cat /proc/self/mountinfo")
        return sum(line.split()[4] == self.point for line in table.splitlines())

    def status(self):
        return json.loads(self.machine.run(f"daxfuse status {self.point}"))

    def works(self):
        self.machine.run(f"date > {self.point}/works; test -s {self.point}/works")

    def fsck(self):
        self.machine.run(f"fsck.daxfuse -n {self.image}")


class Writer:
    """A program that writes and verifies until it is told to end (writer.py)."""

    def __init__(self, machine, path):
        # a child of the machine's init: nsenter is outside, and is stopped with what it waits for
        self.process = machine.start(
            f"exec 3<&0; python3 -S /usr/local/lib/writer.py {path} <&3 3<&- &")
        assert self.process.stdout.readline() == "writes\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """It ends when nobody listens any more."""
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()
        self.process.wait()

    def finish(self):
        """The longest write in seconds. Raises if one failed."""
        said, _ = self.process.communicate("end\n", timeout=RUN_LIMIT)
        assert said, "the writer has failed"
        writes, longest = said.split()
        assert int(writes) > 0
        return float(longest)
