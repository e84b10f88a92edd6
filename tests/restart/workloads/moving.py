# SPDX-License-Identifier: BSD-3-Clause
"""Blocks come and go in files that are appended to: each append must go to the end of then."""

import os

from support.syscalls import FALLOC_COLLAPSE_RANGE, FALLOC_INSERT_RANGE, change_range

from restart.workloads.base import Workload

BLOCK = 4096
FILES = 3
LARGE = 12 * BLOCK  # as long as a file may become


class Moving(Workload):
    """`asks`: for the size, between the two; where an ioctl changed it, the kernel asks only then."""

    def __init__(self, pool, seed=1, dax=False, asks=False):
        super().__init__(pool, seed, dax=dax)
        self.asks = asks

    def prepare(self):
        super().prepare()
        self.files = []
        for number in range(FILES):
            fd = os.open(self.folder / str(number), os.O_RDWR | os.O_CREAT | os.O_APPEND)
            data = bytes([65 + number]) * (5 * BLOCK + 77)
            os.write(fd, data)
            self.files.append([fd, data])

    def move(self, fd, data):
        at = self.random.randrange(min(4, -(-len(data) // BLOCK))) * BLOCK
        if len(data) < LARGE and self.random.random() < 0.6:
            change_range(fd, FALLOC_INSERT_RANGE, at, BLOCK)
            return data[:at] + bytes(BLOCK) + data[at:]
        if at + BLOCK >= len(data):
            return data
        change_range(fd, FALLOC_COLLAPSE_RANGE, at, BLOCK)
        return data[:at] + data[at + BLOCK:]

    def run(self, going):
        count = 0
        while going() or count < 100:
            count += 1
            file = self.random.choice(self.files)
            fd, data = file
            data = self.move(fd, data)
            if self.asks:
                os.fstat(fd)
            record = f"<{self.seed}.{count}>".encode()
            os.write(fd, record)
            file[1] = data = data + record
            size = os.fstat(fd).st_size
            assert size == len(data), f"round {count}: {size} bytes, not {len(data)}"
            assert os.pread(fd, 2 * LARGE, 0) == data, f"round {count}"
        return [data for _, data in self.files]

    def check(self, result):
        for number, data in enumerate(result):
            assert (self.folder / str(number)).read_bytes() == data
