# SPDX-License-Identifier: BSD-3-Clause
"""A tree is copied in, compared by checksum, and copied out again."""

import os
import shutil
from pathlib import Path

from restart.workloads.base import Workload, command, repeat

TREES = (Path("/usr/include"), Path("/usr/include/linux"))
OPTIONS = ("-aHAX", "--checksum")


class Rsync(Workload):
    """/usr/include; a part of it if `scale` is below 1."""

    def prepare(self):
        super().prepare()
        self.source = TREES[0] if self.scale >= 1 else TREES[1]

    def run(self, going):
        return repeat(self.step, going)

    def step(self, count):
        copy, back = self.folder / f"copy{count % 2}", self.scratch / "back"
        command("rsync", *OPTIONS, "--delete", f"{self.source}/", copy)
        self.same(self.source, copy)
        victims = sorted(copy.rglob("*.h"))[count % 7::97]
        for path in victims:
            path.write_bytes(b"changed")
        command("rsync", *OPTIONS, "--inplace", "--delete", f"{self.source}/", copy)
        self.same(self.source, copy)
        command("rsync", *OPTIONS, "--delete", f"{copy}/", back)
        self.same(self.source, back)
        command("diff", "-r", "--no-dereference", self.source, back)
        if count % 2:
            shutil.rmtree(copy)

    @staticmethod
    def same(one, other):
        assert command("rsync", *OPTIONS, "--dry-run", "--itemize-changes", "--delete",
                       f"{one}/", other) == ""

    def check(self, result):
        for name in os.listdir(self.folder):
            command("diff", "-r", "--no-dereference", TREES[0] if self.scale >= 1 else TREES[1],
                    self.folder / name)
