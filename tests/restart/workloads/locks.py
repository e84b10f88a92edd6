# SPDX-License-Identifier: BSD-3-Clause
"""Locks are kept over the death of the daemon: nobody else ever gets them, and nobody waits
for one that is free."""

import fcntl
import os
import struct
import time

from restart.task import Flag, Task, together
from restart.workloads.base import Workload

OFD_SETLK = 37
KINDS = ("flock", "posix", "ofd")


class Busy(Exception):
    """Somebody has the lock."""


def take(kind, fd, exclusive=True, wait=False, start=0, length=0):
    """One of Linux's three kinds of lock; Busy if it is not free and we don't wait."""
    try:
        if kind == "ofd":
            what = fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK
            fcntl.fcntl(fd, OFD_SETLK, struct.pack("hhqqi4x", what, os.SEEK_SET, start, length, 0))
            return
        operation = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB)
        if kind == "flock":
            fcntl.flock(fd, operation)
        else:
            fcntl.lockf(fd, operation, length, start)
    except BlockingIOError as error:
        raise Busy from error


def drop(kind, fd):
    if kind == "flock":
        fcntl.flock(fd, fcntl.LOCK_UN)
    elif kind == "posix":
        fcntl.lockf(fd, fcntl.LOCK_UN)
    else:
        fcntl.fcntl(fd, OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))


class Locks(Workload):
    """For each kind: one file locked all the time, one that changes hands, one counter."""

    def prepare(self):
        super().prepare()
        self.posix_held, self.over = Flag(), Flag()
        for kind in KINDS:
            for name in ("always", "sometimes", "counter"):
                (self.folder / f"{kind}-{name}").write_text("0")

    def open(self, kind, name):
        return os.open(self.folder / f"{kind}-{name}", os.O_RDWR)

    def run(self, going):
        always = {kind: self.open(kind, "always") for kind in ("flock", "ofd")}
        for kind, fd in always.items():
            take(kind, fd)
        keeper = Task("keeper", self.hold_posix)
        jobs = {}
        for kind in KINDS:
            for i in range(2):
                jobs[f"{kind} {i}"] = lambda kind=kind, i=i: self.compete(kind, i, going)
        for i in range(2):
            for kind in ("flock", "posix"):
                jobs[f"{kind} counter {i}"] = lambda kind=kind: self.count(kind, going)
        try:
            done = together(jobs)
            self.over.set()
            keeper.result(20)
        finally:
            keeper.close()
        for kind in ("flock", "posix"):
            total = int((self.folder / f"{kind}-counter").read_text())
            wanted = sum(done[f"{kind} counter {i}"] for i in range(2))
            assert total == wanted, f"{kind}: counted to {total}, not {wanted}"
        for fd in always.values():
            os.close(fd)
        return done

    def hold_posix(self):
        """A record lock belongs to a process, so to this one."""
        fd = self.open("posix", "always")
        take("posix", fd, start=100, length=50)
        self.posix_held.set()
        while not self.over:
            time.sleep(0.01)
        os.close(fd)

    def compete(self, kind, number, going):
        """Never gets what is always held; what changes hands is held by one at a time."""
        always, fd = self.open(kind, "always"), self.open(kind, "sometimes")
        while not self.posix_held:
            time.sleep(0.001)
        got = 0
        while going() or got < 3:
            self.try_forbidden(kind, always, exclusive=got % 2 == 0)
            try:
                take(kind, fd)
            except Busy:
                time.sleep(0.001)
                continue
            self.use(kind, fd, number)
            got += 1
            drop(kind, fd)
            time.sleep(0.001)
        return got

    @staticmethod
    def try_forbidden(kind, fd, exclusive):
        try:
            take(kind, fd, exclusive, start=120, length=1)
        except Busy:
            return
        raise AssertionError(f"{kind}: got a lock that another process holds")

    @staticmethod
    def use(kind, fd, number):
        """What is written under the lock is still there a little later."""
        mark = f"{number} {time.monotonic_ns()}".ljust(40).encode()
        os.pwrite(fd, mark, 0)
        time.sleep(0.002)
        found = os.pread(fd, 40, 0)
        assert found == mark, f"{kind}: two had the lock: {found}, not {mark}"

    def count(self, kind, going):
        """A counter that is read and written under a lock that is waited for."""
        fd = self.open(kind, "counter")
        done = 0
        while going() or done < 3:
            take(kind, fd, wait=True)
            value = int(os.pread(fd, 20, 0)) + 1
            os.pwrite(fd, str(value).encode(), 0)
            done += 1
            drop(kind, fd)
            time.sleep(0.0005)
        return done
