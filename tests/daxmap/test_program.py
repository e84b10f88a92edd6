# SPDX-License-Identifier: BSD-3-Clause
"""What mappings do, by a program that knows nothing of daxmap (program.c)."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.pool import MIB

UNIT = 2 * MIB
SCENARIOS = re.findall(r'{ "(\w+)", (?:\w+) }', (Path(__file__).parent / "program.c").read_text())
ALONE = [name for name in SCENARIOS if not name.startswith("dies_of_") and name not in ("threads", "steps", "outlives_mount")]
PUNCH = 3  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE


def test_scenarios():
    assert len(SCENARIOS) > 10


@pytest.mark.parametrize("scenario", ALONE)
def test_direct(scenario, program, run, file):
    done = run(program, scenario, file)
    done.check()
    assert (scenario == "private_mapping") == (not done.mappings), done.mappings


@pytest.mark.parametrize("scenario", ALONE)
def test_elsewhere(scenario, program, run, file):
    """What is checked holds of an ordinary filesystem: the program itself is right."""
    other = Path("/dev/shm") / f"daxmap-{os.getpid()}"
    other.write_bytes(file.read_bytes())
    try:
        run(program, scenario, other, direct=False).check()
    finally:
        other.unlink()


@pytest.mark.parametrize("name", ["sigbus", "sigsegv"])
def test_dies(name, program, run, file):
    """Not allowed, and not caught: the program dies of it as it would without us."""
    done = run(program, f"dies_of_{name}", file)
    assert done.code == -getattr(signal, name.upper()), done.err


def start_threads(bin_dir, program, file, slot):
    return subprocess.Popen([bin_dir / "daxfuse", "run", program, "threads", file],
                            stderr=subprocess.PIPE, text=True, env={**os.environ, "SLOT": str(slot)})


def test_others_change_the_file(program, bin_dir, file):
    """Threads of two processes store while others punch holes and write."""
    children = [start_threads(bin_dir, program, file, slot) for slot in range(2)]
    fd = os.open(file, os.O_RDWR)
    rounds = 0
    while any(child.poll() is None for child in children):
        subprocess.run(["fallocate", "-p", "-o", str(rounds % 4 * UNIT), "-l", str(UNIT), file], check=True)
        os.pwrite(fd, b"\0" * 4096, rounds % 4 * UNIT + MIB)
        rounds += 1
    os.close(fd)
    for child in children:
        assert child.returncode == 0, child.stderr.read()
    assert rounds > 3


def test_restarts_while_storing(program, bin_dir, pool, file, tool):
    child = start_threads(bin_dir, program, file, 0)
    rounds = 0
    while child.poll() is None:
        tool("daxfuse", "restart", pool.point)
        subprocess.run(["fallocate", "-p", "-o", str(rounds % 4 * UNIT), "-l", str(UNIT), file], check=True)
        rounds += 1
    assert child.returncode == 0, child.stderr.read()
    assert rounds > 3


def test_descriptors(run, file):
    """They do not pile up, nor do mappings."""
    run(sys.executable, "-c", """
import mmap, os, sys, time
def count():
    return len(os.listdir("/proc/self/fd")), len(open("/proc/self/maps").readlines())
fd = os.open(sys.argv[1], os.O_RDWR)
for i in range(300):
    mmap.mmap(fd, 1 << (12 + i % 12)).close()
    if i == 100:
        before = count()
assert count() == before, (count(), before)
time.sleep(3)
assert count()[0] < before[0], "without mappings the session ends"
mmap.mmap(fd, 8 << 20)[5] = 1
""", file).check()


class Stepper:
    """The scenario "steps": one step for each call, at most that many seconds long."""

    def __init__(self, bin_dir, program, file):
        self.child = subprocess.Popen([bin_dir / "daxfuse", "run", program, "steps", file],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.count = 0

    def step(self):
        self.count += 1
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        assert self.child.stdout.readline() == f"{self.count}\n"

    def close(self):
        self.child.stdin.close()
        assert self.child.wait(30) == 0


def stored(file, count):
    data = file.read_bytes()
    return [data[n] for n in range(1, count + 1)] == list(range(1, count + 1))


def test_restart(program, bin_dir, pool, file, tool):
    """The mapping lives on while the daemon is replaced; and its pins do."""
    stepper = Stepper(bin_dir, program, file)
    stepper.step()
    for _ in range(3):
        tool("daxfuse", "restart", pool.point)
        stepper.step()
        os.truncate(file, 2 * UNIT)
        os.truncate(file, 4 * UNIT)
        stepper.step()
    assert stored(file, stepper.count)
    stepper.close()


def test_kill(program, bin_dir, pool, file):
    stepper = Stepper(bin_dir, program, file)
    stepper.step()
    before = pool.serving()
    os.kill(before, signal.SIGKILL)
    stepper.step()
    os.statvfs(pool.point)
    assert pool.serving() != before
    pool.log.write_text("")  # that it was killed
    subprocess.run(["fallocate", "-p", "-o", str(3 * UNIT), "-l", str(UNIT), file], check=True)
    stepper.step()
    assert stored(file, stepper.count)
    assert file.read_bytes()[3 * UNIT + stepper.count] == stepper.count
    stepper.close()


def test_kill_and_holes(bin_dir, pool, mnt):
    """The next serving process does not know which programs have zeroes of holes: they drop them."""
    path = mnt / "holes"
    with open(path, "w") as file:
        file.truncate(4 * UNIT)
    child = subprocess.Popen([bin_dir / "daxfuse", "run", sys.executable, "-c", """
import mmap, sys, time
file = open(sys.argv[1], "r+")
memory = mmap.mmap(file.fileno(), 0)
print(sum(memory[::4096]), flush=True)
end = time.monotonic() + 5
while memory[:3] != b"new" and time.monotonic() < end:
    time.sleep(0.01)
print(memory[:3], memory[6 << 20], flush=True)
""", path], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "0\n"
    os.kill(pool.serving(), signal.SIGKILL)
    with open(path, "r+") as file:
        file.write("new")
    pool.log.write_text("")  # that it was killed
    assert child.stdout.readline() == "b'new' 0\n"
    assert child.wait(30) == 0


def test_outlives_mount(program, bin_dir, pool, file):
    """No fault waits for a daemon that will not come back."""
    child = subprocess.Popen([bin_dir / "daxfuse", "run", program, "outlives_mount", file],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "mapped\n"
    pool.shoot()
    child.communicate("\n", timeout=60)
    assert child.returncode == 0
    pool.daemon.wait()
    pool.log.write_text("")
    pool.kill()
    pool.mount("dax=always")


def test_space_comes_back(program, bin_dir, pool, mnt, file):
    """What is cut off while mapped is busy until the program has let go, or is dead."""
    wanted = pool.free()[0] + 4 * UNIT // 4096
    stepper = Stepper(bin_dir, program, file)
    stepper.step()
    stepper.child.kill()
    stepper.child.wait()
    file.unlink()
    for _ in range(200):
        if pool.free()[0] >= wanted:
            return
        time.sleep(0.01)
    pytest.fail(f"{pool.free()[0]} blocks are free, {wanted} should be")
