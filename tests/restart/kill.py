#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""
Kills the serving child of a supervisor again and again; and what that meant for a
program that works on the mount.

    kill.py SUPERVISOR LOG [--count N] [--seed S] [--least MS] [--most MS] [--signal NUMBER]

Each child lives for a random time, counted from the death of the one before: so a
short one dies while it adopts the mount. The mount itself is never touched. LOG gets
one line for each kill: the monotonic time in ns, and the process. Ends after N kills,
by SIGTERM, or with status 1 when there is no child for half a minute.
"""

import argparse
import os
import random
import signal
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from restart.task import Task, children, is_running  # noqa: E402  (needs the path above)

PATIENCE = 30  # seconds without a child
SAMPLE = struct.Struct("QQ")


def next_child(supervisor, dead):
    """A child that is not the dead one; None if there is none for too long."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for pid in children(supervisor):
            if pid not in dead and is_running(pid):
                return pid
        if not is_running(supervisor):
            return None
        time.sleep(0.0002)
    return None


def kill_children(arguments, log):
    rng = random.Random(arguments.seed)
    dead = []
    while len(dead) != arguments.count:
        time.sleep(rng.uniform(arguments.least, arguments.most) / 1000)
        pid = next_child(arguments.supervisor, dead[-8:])
        if pid is None:
            print(f"no child of {arguments.supervisor} after {len(dead)} kills", file=sys.stderr)
            return 1
        now = time.monotonic_ns()
        try:
            os.kill(pid, arguments.signal)
        except ProcessLookupError:
            continue
        log.write(f"{now} {pid}\n")
        dead.append(pid)
    return 0


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("supervisor", type=int)
    parser.add_argument("log")
    parser.add_argument("--count", type=int, default=-1, help="how many kills (until SIGTERM)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least", type=float, default=5, metavar="MS")
    parser.add_argument("--most", type=float, default=300, metavar="MS")
    parser.add_argument("--signal", type=int, default=signal.SIGKILL)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with open(arguments.log, "a", buffering=1) as log:
        sys.exit(kill_children(arguments, log))


class Killer:
    """The program above, and its log."""

    def __init__(self, supervisor, log, **options):
        self.log = Path(log)
        self.log.touch()
        words = [f"--{name}={value}" for name, value in options.items()]
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(supervisor), str(log), *words],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def has_ended(self):
        return self.process.poll() is not None

    def failure(self):
        """Why it gave up; None if it did not."""
        return self.process.stderr.read() if self.process.poll() else None

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(2 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def kills(self):
        """[(monotonic ns, process)]"""
        lines = self.log.read_text().split("\n")[:-1]
        return [tuple(map(int, line.split())) for line in lines]


# ---- how long a program had to wait


def probe(folder, samples, going):
    """
    Small operations that can't be answered by the kernel alone, one after the other:
    a write to a DAX file, and a look for a name that nobody has asked for. Each one's
    start and duration go to `samples`.
    """
    count = 0
    fd = os.open(folder / "probe", os.O_RDWR | os.O_CREAT, 0o644)
    page = bytes(4096)
    with open(samples, "wb") as out:
        while going():
            count += 1
            start = time.monotonic_ns()
            if count % 2:
                os.pwrite(fd, page, count % 64 * 4096)
            elif os.path.lexists(folder / f"absent{count}"):
                raise AssertionError("a name appeared")
            out.write(SAMPLE.pack(start, time.monotonic_ns() - start))
            time.sleep(0.0002)
    os.close(fd)
    return count


def start_probe(folder, samples, going):
    return Task("probe", probe, folder, samples, going)


def read_samples(path):
    data = Path(path).read_bytes()
    return list(SAMPLE.iter_unpack(data[:len(data) // SAMPLE.size * SAMPLE.size]))


def pauses(kills, samples):
    """
    For each kill the longest operation, in ns, that was under way after it and had begun
    before the next kill: what a program waited because of it. Both lists are in order.
    """
    found = []
    at = 0
    for number, (killed, _) in enumerate(kills):
        end = kills[number + 1][0] if number + 1 < len(kills) else killed + 10 ** 9
        while at < len(samples) and samples[at][0] + samples[at][1] < killed:
            at += 1
        longest, i = 0, at
        while i < len(samples) and samples[i][0] < end:
            longest = max(longest, samples[i][1])
            i += 1
        found.append(longest)
    return found


def summary(found):
    """Milliseconds: p50, p95, max, and how many lie in each class of a factor of 2."""
    if not found:
        return {"kills": 0}
    in_ms = sorted(pause / 1e6 for pause in found)
    classes = {}
    for pause in in_ms:
        top = 1
        while top < pause:
            top *= 2
        classes[top] = classes.get(top, 0) + 1
    return {"kills": len(in_ms), "p50_ms": round(statistics.median(in_ms), 2),
            "p95_ms": round(in_ms[min(len(in_ms) - 1, int(len(in_ms) * 0.95))], 2),
            "max_ms": round(in_ms[-1], 2),
            "histogram": {f"<={top} ms": count for top, count in sorted(classes.items())}}


if __name__ == "__main__":
    main()
