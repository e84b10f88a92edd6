# SPDX-License-Identifier: BSD-3-Clause
"""A project folder at its limits: never more than allowed, never refused below, and what is
given back is counted once."""

import errno
import json
import os
import time

from restart.workloads.base import Workload, command, repeat

MIB = 1 << 20
INODES = 50
BYTES = 8 * MIB


class Quota(Workload):
    """Fill to the limit of inodes, then of bytes, empty; the account is what it was."""

    def prepare(self):
        super().prepare()
        self.quota(self.folder, "--assign", "--bytes", "8M", "--inodes", INODES)
        self.empty = self.settled(lambda used: used["inodes"] == 1)

    def quota(self, path, *options):
        out = command(self.pool.bin_dir / "daxfuse", "quota", path, 200 + self.seed, *options)
        return json.loads(out) if out.startswith("{") else None

    def used(self):
        used = self.quota(self.pool.point)
        assert used["bytes"] <= BYTES and used["inodes"] <= INODES, used
        return used

    def settled(self, good):
        """What is given back is counted a little later: when the kernel has forgotten it. What it
        has forgotten in a process that was killed over it is found a second after a process has
        taken over, and so after the last of many kills."""
        end = time.monotonic() + 120
        while not good(used := self.used()) and time.monotonic() < end:
            time.sleep(0.01)
        assert good(used), used
        return used["bytes"]

    def run(self, going):
        return repeat(lambda _: self.fill_and_empty(), going)

    def fill_and_empty(self):
        for i in range(INODES - 1):
            os.close(os.open(self.folder / f"i{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        for _ in range(20):
            self.refused(lambda: os.mkdir(self.folder / "more"))
            self.refused(lambda: os.open(self.folder / "more", os.O_CREAT | os.O_WRONLY))
        assert self.used()["inodes"] == INODES
        written = self.fill_bytes(self.folder / "i0")
        assert 5 * MIB <= written <= BYTES, written
        assert (self.folder / "i0").stat().st_size == written
        os.rename(self.folder / "i1", self.folder / "i0")
        self.settled(lambda used: used["inodes"] == INODES - 1)
        for name in os.listdir(self.folder):
            os.unlink(self.folder / name)
        left = self.settled(lambda used: used["inodes"] == 1 and used["bytes"] <= 32768)
        assert left <= self.empty + 32768

    @staticmethod
    def refused(function):
        try:
            function()
        except OSError as error:
            assert error.errno == errno.EDQUOT, error
        else:
            raise AssertionError("more than the quota allows")

    @staticmethod
    def fill_bytes(path):
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        done = 0
        try:
            while True:
                done += os.write(fd, b"x" * 100_000)
        except OSError as error:
            assert error.errno == errno.EDQUOT, error
        finally:
            os.close(fd)
        return done

    def check(self, result):
        assert os.listdir(self.folder) == []
        used = self.quota(self.pool.point)
        assert used["inodes"] == 1 and used["bytes"] <= 32768, used
