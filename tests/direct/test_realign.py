# SPDX-License-Identifier: BSD-3-Clause
"""Realigning a file while a program, that knows nothing of us, maps it and stores to it."""

import json
import os
import subprocess
import sys

from support.direct import UNIT
from support.pool import HANG
from support.process import eventually

from direct.test_revocation import fill

UNITS = 6

# While there are no free units it can be mapped in pages only; a thread stores to pages of all
# units until stdin is closed. What must be in the file is compared then.
PROGRAM = """
import mmap, os, random, sys, threading
path, units = sys.argv[1], int(sys.argv[2])
fd = os.open(path, os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, units << 21)
memory = mmap.mmap(fd, units << 21)
pages = [unit << 21 | page << 12 for unit in range(units) for page in range(0, 512, 5)]
for at in pages:
    os.pwrite(fd, at.to_bytes(8, "little"), at)
last, stop, seen = {}, threading.Event(), 0

def store():
    counter = 0
    for at in pages:
        memory[at + 8] = 0
    print("ready", flush=True)
    while not stop.is_set():
        at = random.choice(pages)
        counter += 1
        memory[at + 8:at + 16] = counter.to_bytes(8, "little")
        assert memory[at:at + 8] == at.to_bytes(8, "little"), "bytes of another page"
        last[at] = counter

thread = threading.Thread(target=store)
thread.start()
sys.stdin.read()
stop.set()
thread.join()
for at in pages:
    want = at.to_bytes(8, "little") + last.get(at, 0).to_bytes(8, "little")
    assert memory[at:at + 16] == want == os.pread(fd, 16, at), (hex(at), want)
print(len(last))
"""


def whole(pool, path):
    extents = json.loads(pool.run("daxfuse", "map", path))["extents"]
    return sum(e["length"] for e in extents if e["unit"])


def test_nothing_is_lost(pool):
    path, others = pool.point / "f", pool.point / "others"
    fill(pool, "others")
    os.truncate(others, others.stat().st_size - 2 * UNIT)
    program = subprocess.Popen(
        [pool.bin_dir / "daxfuse", "run", "--", sys.executable, "-c", PROGRAM, path, str(UNITS)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert program.stdout.readline() == "ready\n"
    before = whole(pool, path)
    others.unlink()
    assert eventually(lambda: os.statvfs(pool.point).f_bfree * 4096 > UNITS * UNIT, True)
    for _ in range(3):
        pool.run("daxfuse", "realign", pool.point)
    after = whole(pool, path)
    out, _ = program.communicate(timeout=HANG)
    assert program.returncode == 0
    assert int(out) > 100, "it did store meanwhile"
    assert before < UNITS * UNIT == after
