# SPDX-License-Identifier: BSD-3-Clause
"""
A large folder is read again and again while others create and remove in it. Each entry
that is there during the whole walk is seen exactly once, and none twice: the names of
what comes and goes are never used again.
"""

import os

from support.syscalls import getdents

from restart.task import together
from restart.workloads.base import Workload, repeat

ENTRIES = 100_000
LIVE = 200  # entries of one who creates and removes
MAKERS = 4


class Listing(Workload):
    """`scale` is the share of 100,000 entries."""

    def prepare(self):
        super().prepare()
        self.fixed = {f"fixed-entry-{i}" for i in range(int(ENTRIES * self.scale))}
        names = sorted(self.fixed)
        together({f"maker {i}": lambda i=i: self.create(names[i::MAKERS]) for i in range(MAKERS)})

    def create(self, names):
        for name in names:
            os.mknod(self.folder / name)

    def run(self, going):
        return together({
            "reader, small buffer": lambda: repeat(lambda _: self.walk(4096), going),
            "reader, large buffer": lambda: repeat(lambda _: self.walk(65536), going),
            "changer 1": lambda: self.change("one", going),
            "changer 2": lambda: self.change("two", going)})

    def walk(self, size):
        seen = set()
        fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            while entries := getdents(fd, size):
                for entry in entries:
                    assert entry.name not in seen, f"{entry.name} twice in one walk"
                    seen.add(entry.name)
        finally:
            os.close(fd)
        missing = self.fixed - seen
        assert not missing, f"{len(missing)} of {len(self.fixed)} not seen: {sorted(missing)[:5]}"
        assert {".", ".."} <= seen

    def change(self, who, going):
        number = 0
        while going() or number < LIVE:
            os.mknod(self.folder / f"changing-{who}-{number}")
            if number >= LIVE:
                os.unlink(self.folder / f"changing-{who}-{number - LIVE}")
            number += 1
        return number

    def check(self, result):
        wanted = set(self.fixed_names())
        for who, number in (("one", result["changer 1"]), ("two", result["changer 2"])):
            wanted |= {f"changing-{who}-{i}" for i in range(max(0, number - LIVE), number)}
        found = os.listdir(self.folder)
        assert len(found) == len(set(found)) and set(found) == wanted

    def fixed_names(self):
        return (f"fixed-entry-{i}" for i in range(int(ENTRIES * self.scale)))
