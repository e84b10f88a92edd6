# SPDX-License-Identifier: BSD-3-Clause
"""
Large reads by several programs. A new process has nothing of the pool in its page tables: a
SIGKILL while the kernel copies an answer from there and meets a page that is missing would be
an error for the reader.
"""

import os

from restart.task import together
from restart.workloads.base import Workload, repeat

MIB = 1 << 20
READERS = 4


def content(number):
    return number.to_bytes(8, "little") * (MIB // 8)


class Reading(Workload):
    """`scale` times 256 MiB."""

    def prepare(self):
        super().prepare()
        self.blocks = int(256 * self.scale)
        with open(self.folder / "file", "wb", buffering=0) as out:
            for number in range(self.blocks):
                out.write(content(number))

    def run(self, going):
        return together({f"reader {i}": lambda i=i: self.read(i, going) for i in range(READERS)})

    def read(self, first, going):
        fd = os.open(self.folder / "file", os.O_RDONLY)
        buffer = bytearray(MIB)

        def step(count):
            number = (first * self.blocks // READERS + count) % self.blocks
            got = os.preadv(fd, [buffer], number * MIB)
            assert got == MIB and buffer == content(number), f"block {number}, {got} bytes"
            if not self.dax:
                os.posix_fadvise(fd, number * MIB, MIB, os.POSIX_FADV_DONTNEED)

        count = repeat(step, going)
        os.close(fd)
        return count
