# SPDX-License-Identifier: BSD-3-Clause
"""Files that are mapped: a fault that the daemon fails is SIGBUS, which ends the process."""

import mmap
import os

from restart.task import together
from restart.workloads.base import Workload, repeat

PAGE = 4096
PAGES = 1024
BATCH = 32


def page(number, version):
    return (number << 32 | version).to_bytes(8, "little") * (PAGE // 8)


class Mapped(Workload):
    """Two readers of a fixed file, with pages dropped from the cache; a writer through a
    mapping, whose pages a reader without one finds after msync()."""

    def prepare(self):
        super().prepare()
        for name in ("fixed", "changing"):
            with open(self.folder / name, "wb") as out:
                for number in range(PAGES):
                    out.write(page(number, 0))

    def run(self, going):
        done = together({"reader 1": lambda: repeat(self.read, going),
                         "reader 2": lambda: repeat(self.read, going),
                         "writer": lambda: self.write(going)})
        return done["writer"]

    def read(self, _):
        fd = os.open(self.folder / "fixed", os.O_RDONLY)
        with mmap.mmap(fd, PAGES * PAGE, mmap.MAP_SHARED, mmap.PROT_READ) as memory:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            memory.madvise(mmap.MADV_RANDOM if self.random.random() < 0.5 else mmap.MADV_NORMAL)
            for number in self.random.sample(range(PAGES), PAGES // 2):
                found = memory[number * PAGE:(number + 1) * PAGE]
                assert found == page(number, 0), f"page {number} differs: {found[:16]}"
        os.close(fd)

    def write(self, going):
        fd = os.open(self.folder / "changing", os.O_RDWR)
        versions = [0] * PAGES
        with mmap.mmap(fd, PAGES * PAGE) as memory:
            def step(count):
                batch = self.random.sample(range(PAGES), BATCH)
                for number in batch:
                    versions[number] = count + 1
                    memory[number * PAGE:(number + 1) * PAGE] = page(number, count + 1)
                memory.flush()
                # Out of the cache, so that the daemon is asked.
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                for number in batch:
                    found = os.pread(fd, PAGE, number * PAGE)
                    assert found == page(number, count + 1), f"page {number}: {found[:16]}"
            repeat(step, going)
        os.close(fd)
        return versions

    def check(self, result):
        with open(self.folder / "changing", "rb") as file:
            for number, version in enumerate(result):
                assert file.read(PAGE) == page(number, version), f"page {number}"
