# SPDX-License-Identifier: BSD-3-Clause
"""A repository is cloned, changed, packed and checked."""

import shutil
from pathlib import Path

from restart.workloads.base import Workload, command, repeat

ROOT = Path(__file__).resolve().parents[3]
GIT = ("git", "-c", "safe.directory=*", "-c", "user.name=a", "-c", "user.email=a@b",
       "-c", "gc.auto=0", "-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main")


class Git(Workload):
    """The origin is made of this checkout's files, fewer if `scale` is below 1, and does not lie
    on the mount."""

    def prepare(self):
        super().prepare()
        origin = self.scratch / "origin"
        folders = ("docs/design", "tests", "daxfuse")[0 if self.scale >= 1 else 2:]
        for folder in folders:
            shutil.copytree(ROOT / folder, origin / folder, symlinks=True,
                            ignore=shutil.ignore_patterns("__pycache__"))
        command("find", origin, "-type", "d", "-empty", "-delete")  # git has no empty folders
        command(*GIT, "init", "-q", origin)
        for folder in (*folders[:-1], "daxfuse/core", "daxfuse/fuse", "daxfuse"):
            command(*GIT, "-C", origin, "add", folder)
            command(*GIT, "-C", origin, "commit", "-qm", folder)
        self.head = command(*GIT, "-C", origin, "rev-parse", "HEAD")

    def run(self, going):
        return repeat(self.step, going)

    def step(self, count):
        clone = self.folder / f"clone{count}"
        command(*GIT, "clone", "-q", "--no-local", self.scratch / "origin", clone)
        self.verify(clone)
        (clone / "file").write_text(f"{count}\n" * 1000)
        command(*GIT, "-C", clone, "add", "file")
        command(*GIT, "-C", clone, "commit", "-qm", "change")
        command(*GIT, "-C", clone, "checkout", "-q", "HEAD~2")
        command(*GIT, "-C", clone, "checkout", "-q", "main")
        command(*GIT, "-C", clone, "gc", "-q")
        command(*GIT, "-C", clone, "reset", "-q", "--hard", "HEAD~1")
        self.verify(clone)
        if count >= 1:
            shutil.rmtree(self.folder / f"clone{count - 1}")

    def verify(self, clone):
        command(*GIT, "-C", clone, "fsck", "--full", "--strict")
        assert command(*GIT, "-C", clone, "status", "--porcelain") == ""
        head = command(*GIT, "-C", clone, "rev-parse", "HEAD")
        if hasattr(self, "head"):
            assert head == self.head
        command("diff", "-r", "-x", ".git", "--no-dereference", self.scratch / "origin", clone)

    def check(self, result):
        self.verify(self.folder / f"clone{result - 1}")
