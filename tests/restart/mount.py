# SPDX-License-Identifier: BSD-3-Clause
"""
A pool whose daemon is killed on purpose, with a limit for everything that is done with
it: when that is over, the connection is aborted and the daemon shot, so that whoever
waits for it gets an error.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

from support.pool import HANG, SUSPICIOUS, Pool, abort_connection, is_mounted

from restart.keeper import Service
from restart.task import children, descendants, kill_quietly, stack

DEATH = re.compile(r"the serving process \d+ ended: killed by signal (\d+) ")


def connection_of(point):
    """The number of the newest mount there, without asking the daemon."""
    number = None
    with open("/proc/self/mountinfo") as table:
        for line in table:
            words = line.split()
            if words[4] == str(point):
                number = int(words[2].split(":")[1])
    return number


def mounted_elsewhere(point):
    """Processes in other mount namespaces that have it still, which keeps a daemon alive."""
    found, seen = [], {os.readlink("/proc/self/ns/mnt")}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            namespace = os.readlink(folder / "ns/mnt")
            if namespace not in seen and f" {point} " in (folder / "mountinfo").read_text():
                found.append(int(folder.name))
            seen.add(namespace)
    return found


class RestartPool(Pool):
    """`supervisor` keeps /dev/fuse; serving() is the process that may die."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.supervisor = 0
        self.under_systemd = False
        self.deaths = {signal.SIGKILL}
        self.started = set()  # all processes that we know to be ours
        self.tasks = []       # to be ended when a limit is over
        self.hung = ""

    # ---- life

    def serve(self, *options, user=None):
        """Mount; the daemon must be restartable. A user's mount is not looked at by root."""
        with self.limit(60):
            if self.under_systemd:
                self.mount_as_service(*options)
            else:
                self.mount(*options, user=user)
            mount = self.status()["mount"]
            assert mount["restartable"] is True and mount["starts"] == 1, mount
            assert mount["supervisor"] == (0 if self.under_systemd else self.daemon.pid)
            self.supervisor = self.daemon.pid
            self.started |= {self.daemon.pid, mount["pid"]}
            assert children(self.supervisor) == [mount["pid"]]
        return self.point

    def mount_as_service(self, *options):
        self.options = options
        words = [word for option in ("keeper=systemd", *options) for word in ("-o", option)]
        self.daemon = Service([self.bin_dir / "daxfuse", self.image, self.point, "-f", *words],
                              self.folder)
        self.daemon.wait_until_ready()

    def status(self):
        return json.loads(self.run("daxfuse", "status", self.point))

    def serving(self):
        """The serving process; None while there is none. Does not touch the mount."""
        found = children(self.supervisor)
        self.started |= set(found)
        return found[0] if found else None

    def wait_for_serving(self, dead=(), seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pid = self.serving()
            if pid and pid not in dead:
                return pid
            time.sleep(0.0005)
        raise AssertionError(f"no serving process after {seconds} s; the log:\n{self.log_tail()}")

    def umount_by_command(self):
        """A process that has just begun to serve looks at its mount, which is busy then."""
        end = time.monotonic() + 30
        while True:
            try:
                self.run("daxfuse", "umount", "--wait", self.point)
                return
            except AssertionError as error:
                if "busy" not in str(error) or time.monotonic() > end:
                    raise
            time.sleep(0.01)

    def kept_descriptors(self):
        """How many the keeper has open; restarting must not cost any."""
        return len(os.listdir(f"/proc/{self.supervisor}/fd"))

    def kill_serving(self, number=signal.SIGKILL):
        """One kill; returns when there is another process."""
        pid = self.wait_for_serving()
        kill_quietly(pid, number)
        return self.wait_for_serving(dead=[pid])

    def umount(self):
        with self.limit(120):
            super().umount()
        self.supervisor = 0

    def check_log(self):
        """Deaths of our making are expected."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines()
                 if not self.is_expected(line)]
        bad = [line for line in lines if SUSPICIOUS.search(line)]
        assert not bad, "suspicious lines in the daemon's log:\n" + "\n".join(lines[-100:])
        assert not list(self.folder.glob("core*")), "the daemon left a core file"

    def is_expected(self, line):
        death = DEATH.search(line)
        return death and int(death[1]) in self.deaths

    def log_tail(self):
        return self.log.read_text(errors="replace")[-6000:]

    # ---- limits

    @contextlib.contextmanager
    def limit(self, seconds):
        """The block fails instead of lasting longer."""
        def end():
            self.hung = "\n".join([
                f"longer than {seconds} s; mounted in {mounted_elsewhere(self.point)}",
                *(stack(pid) for pid in [os.getpid(), *self.started])])
            self.abort()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except BaseException as error:
            if self.hung:
                raise AssertionError(f"{self.hung}\nthe log:\n{self.log_tail()}") from error
            raise
        finally:
            timer.cancel()
        assert not self.hung, f"{self.hung}\nthe log:\n{self.log_tail()}"

    def abort(self):
        """All requests fail, and the serving process is shot."""
        self.abort_connection()
        for task in self.tasks:
            task.kill()
        self.shoot()
        # Requests that came between: nobody answers them.
        self.abort_connection()

    def abort_connection(self):
        """Only while it is mounted: its number is soon another mount's."""
        number = connection_of(self.point)
        if number is not None:
            with contextlib.suppress(OSError):
                abort_connection(number)

    def shoot(self):
        """The supervisor first, or it would start another one."""
        if isinstance(self.daemon, Service):
            self.daemon.kill()
        elif self.daemon is not None:
            self.started.add(self.daemon.pid)
        for pid in list(self.started):
            if self.is_ours(pid):
                below = descendants(pid)
                kill_quietly(pid)
                for child in below:
                    kill_quietly(child)

    def is_ours(self, pid):
        """A process number may have been used again by somebody else."""
        try:
            return str(self.image).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    def ours(self):
        """All processes of our daemon that are left."""
        return [int(folder.name) for folder in Path("/proc").iterdir()
                if folder.name.isdigit() and int(folder.name) != os.getpid()
                and self.is_ours(folder.name)]

    def find_supervisor(self):
        """Of a daemon that went to the background: ours that is no child of ours."""
        ours = self.ours()
        below = {child for pid in ours for child in children(pid)}
        (found,) = set(ours) - below
        return found

    def abandon(self):
        self.started |= set(self.ours())
        self.abort()
        for task in self.tasks:
            task.close()
        if isinstance(self.daemon, subprocess.Popen):
            self.daemon.wait(HANG)
        self.daemon = None
        while is_mounted(self.point):
            self.detach()

    # ---- what must hold at the end

    def finish(self):
        """Unmount; nothing is left: no process, no orphan, nothing for fsck."""
        if self.daemon is not None:
            self.umount()
        end = time.monotonic() + 10
        while self.ours() and time.monotonic() < end:
            time.sleep(0.01)
        assert self.ours() == []
        self.check_log()
        found = self.fsck_summary()
        assert found["clean"] and found["orphans"] == 0, found

    def fsck_summary(self):
        done = subprocess.run([self.bin_dir / "fsck.daxfuse", "-n", self.image],
                              capture_output=True, text=True, timeout=HANG)
        assert done.returncode == 0, f"fsck: {done.returncode}\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout)
