# SPDX-License-Identifier: BSD-3-Clause
"""
What systemd does for a service with FileDescriptorStoreMax= and Restart=on-failure:
keeps the descriptors that the service sends, drops those that hang up, and hands
them to each new process (sd_notify(3), sd_listen_fds(3)).
"""

import ctypes
import fcntl
import os
import select
import signal
import socket
import time
from pathlib import Path

from restart.task import Flag, Task

FIRST = 3  # SD_LISTEN_FDS_START
STORE_MAX = 16
KCMP = 312
HIGH = 200  # above all that a child is given

libc = ctypes.CDLL(None, use_errno=True)


def is_same_file(one, other):
    return libc.syscall(KCMP, os.getpid(), os.getpid(), 0, one, other) == 0


class Manager:
    """Runs a command until it ends by itself with success, or SIGTERM comes."""

    def __init__(self, command, folder, ready):
        self.command = [str(word) for word in command]
        self.folder = Path(folder)
        self.ready = ready  # a Flag
        self.store = []     # (name, descriptor, polled)
        self.stopping = False
        self.child = None
        self.socket = None

    def run(self):
        """Returns how often the command was started."""
        path = self.folder / "notify"
        path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        signal.signal(signal.SIGTERM, self.stop)
        starts = 0
        while True:
            starts += 1
            self.child = self.start()
            status = self.attend()
            if status == 0 or self.stopping:
                assert status == 0, f"ended with wait status {status:#x}"
                return starts

    def stop(self, *_):
        self.stopping = True
        if self.child:
            os.kill(self.child, signal.SIGTERM)

    def start(self):
        pid = os.fork()
        if pid:
            return pid
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self.become_service()
        finally:
            os._exit(127)

    def become_service(self):
        environment = {**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify"),
                       "FDSTORE": str(STORE_MAX)}
        out = os.open(self.folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        for number in (1, 2):
            os.dup2(out, number)
        # First out of the way of each other.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH) for _, fd, _ in self.store]
        for i, fd in enumerate(high):
            os.dup2(fd, FIRST + i, inheritable=True)
        if high:
            environment |= {"LISTEN_FDS": str(len(high)), "LISTEN_PID": str(os.getpid()),
                            "LISTEN_FDNAMES": ":".join(name for name, _, _ in self.store)}
        os.execve(self.command[0], self.command, environment)

    def attend(self):
        """Messages and hang-ups, until the child is reaped."""
        while True:
            pid, status = os.waitpid(self.child, os.WNOHANG)
            self.receive()
            if pid:
                self.child = None
                return status
            self.drop_hung_up()
            select.select([self.socket], [], [], 0.001)

    def receive(self):
        while select.select([self.socket], [], [], 0)[0]:
            data, fds, _, _ = socket.recv_fds(self.socket, 4096, 64)
            for fd in fds:
                os.set_inheritable(fd, False)  # a service has those that it is given, and no others
            fields = dict(line.split("=", 1) for line in data.decode().splitlines() if "=" in line)
            if fields.get("FDSTORE") == "1":
                self.keep(fields.get("FDNAME", "stored"), fds, fields.get("FDPOLL") != "0")
                fds = []
            if fields.get("FDSTOREREMOVE") == "1":
                self.drop(lambda entry, name=fields.get("FDNAME"): entry[0] == name)
            if fields.get("READY") == "1":
                self.ready.set()
            for fd in fds:
                os.close(fd)

    def keep(self, name, fds, polled):
        for fd in fds:
            if len(self.store) >= STORE_MAX or any(is_same_file(fd, kept)
                                                   for _, kept, _ in self.store):
                os.close(fd)
            else:
                self.store.append((name, fd, polled))

    def drop(self, condition):
        for entry in [entry for entry in self.store if condition(entry)]:
            os.close(entry[1])
            self.store.remove(entry)

    def drop_hung_up(self):
        poll = select.poll()
        for _, fd, polled in self.store:
            if polled:
                poll.register(fd, 0)
        bad = {fd for fd, _ in poll.poll(0)}
        self.drop(lambda entry: entry[1] in bad)


class Service:
    """A manager in a process of its own, to be used like its daemon's Popen."""

    def __init__(self, command, folder):
        self.ready = Flag()
        self.task = Task("systemd", Manager(command, folder, self.ready).run)
        self.pid = self.task.pid

    def wait_until_ready(self, seconds=30):
        end = time.monotonic() + seconds
        while not self.ready:
            if self.task.has_ended():
                self.task.result(0)
            assert not self.task.has_ended() and time.monotonic() < end, "does not get ready"
            time.sleep(0.005)

    def poll(self):
        return 0 if self.task.has_ended() else None

    def wait(self, seconds=60):
        """0, when the daemon has ended with success; raises if it has not."""
        self.task.result(seconds)
        return 0

    def kill(self):
        self.task.close()
