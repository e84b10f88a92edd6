# SPDX-License-Identifier: BSD-3-Clause
"""What all workloads have: a folder on the mount, and one beside it."""

import os
import random
import subprocess

from support.syscalls import XFLAG_DAX, get_xflags, set_xflags


class Workload:
    """`folder` is on the mount; `scratch` is not, and lives as long."""

    def __init__(self, pool, seed=1, scale=1, dax=False):
        name = f"{type(self).__name__.lower()}{seed}"
        self.pool = pool
        self.folder = pool.point / name
        self.scratch = pool.folder / f"scratch-{name}"
        self.scratch.mkdir()
        self.scratch.chmod(0o755)
        self.random = random.Random(f"{name} {os.environ.get('DAXFUSE_RESTART_SEED', 0)}")
        self.seed = seed
        self.scale = scale
        self.dax = dax

    def prepare(self):
        """Make what is worked on."""
        self.make_folder()

    def make_folder(self):
        """Files in it bypass the page cache if `dax`."""
        self.folder.mkdir()
        if self.dax:
            set_xflags(self.folder, get_xflags(self.folder).flags | XFLAG_DAX)

    def run(self, going):
        """Work until going() is false."""
        raise NotImplementedError

    def check(self, result):
        """After a remount."""


def command(*words, seconds=300, **kwargs):
    """A program that must succeed; its stdout."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True,
                          errors="replace", stdin=subprocess.DEVNULL, timeout=seconds, check=False,
                          **kwargs)
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, words))}: exit {done.returncode}\n"
                             f"{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def repeat(step, going):
    """step() at least once, and until going() is false; how often."""
    count = 0
    while True:
        step(count)
        count += 1
        if not going():
            return count
