# SPDX-License-Identifier: BSD-3-Clause
"""Files and folders without a name, which live as long as somebody has them open."""

import os
import random

from support.syscalls import FALLOC_PUNCH_HOLE, FALLOC_KEEP_SIZE, fallocate

from restart.workloads.base import Workload

BLOCK = 4096
BLOCKS = 600  # more than a whole unit
FILES = 6


class Nameless:
    """An open file, and what is in it."""

    def __init__(self, fd):
        self.fd = fd
        self.blocks = {}

    def step(self, rng):
        place = rng.randrange(BLOCKS)
        if rng.random() < 0.05:
            fallocate(self.fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, place * BLOCK, BLOCK)
            self.blocks.pop(place, None)
        elif rng.random() < 0.5:
            self.blocks[place] = rng.randbytes(8) * (BLOCK // 8)
            assert os.pwrite(self.fd, self.blocks[place], place * BLOCK) == BLOCK
        else:
            self.verify(place)

    def verify(self, place):
        wanted = self.blocks.get(place, bytes(BLOCK))
        found = os.pread(self.fd, BLOCK, place * BLOCK)
        assert wanted[:len(found)] == found and (len(found) == BLOCK or place not in self.blocks), (
            f"block {place}: {found[:16]} of {len(found)}, not {wanted[:16]}")

    def verify_all(self):
        assert os.fstat(self.fd).st_nlink == 0
        for place in range(BLOCKS):
            self.verify(place)


class Unlinked(Workload):
    """Some stay open the whole time, others come and go. At the end nothing is left."""

    def prepare(self):
        super().prepare()
        self.files = [self.make(number) for number in range(FILES)]
        (self.folder / "gone").mkdir()
        self.gone = os.open(self.folder / "gone", os.O_RDONLY)
        (self.folder / "gone").rmdir()

    def make(self, number):
        """Unlinked, replaced, or never named."""
        path = self.folder / f"f{number}"
        if number % 3 == 0:
            return Nameless(os.open(self.folder, os.O_TMPFILE | os.O_RDWR, 0o600))
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        if number % 3 == 1:
            os.unlink(path)
        else:
            (self.folder / "other").touch()
            os.rename(self.folder / "other", path)
            os.unlink(path)
        return Nameless(fd)

    def run(self, going):
        rng = random.Random(self.seed)
        count = 0
        while going() or count < 1000:
            count += 1
            rng.choice(self.files).step(rng)
            if count % 200 == 0:
                self.renew(rng)
            if count % 100 == 0:
                assert os.listdir(self.gone) == [] and os.fstat(self.gone).st_nlink == 0
                assert os.listdir(self.folder) == []
        for file in self.files:
            file.verify_all()
            os.close(file.fd)
        os.close(self.gone)
        return count

    def renew(self, rng):
        """The first half stays for the whole time."""
        number = rng.randrange(FILES // 2, FILES)
        self.files[number].verify_all()
        os.close(self.files[number].fd)
        self.files[number] = self.make(number)

    def check(self, result):
        assert os.listdir(self.folder) == []
