# SPDX-License-Identifier: BSD-3-Clause
"""Writers that say what was acknowledged, and the check of it after a crash.

    load.py run FOLDER ACKS       write until killed, or until FOLDER's daemon is gone
    load.py wait ACKS COUNT       until each writer has done COUNT operations
    load.py verify FOLDER ACKS [LAG]
                                  JSON: operations acknowledged, and what is wrong

Each writer is a process with an endless, fixed sequence of operations. When
operation n has returned it appends the line "writer n" to ACKS, with one write().
So after a crash the folder must hold what operations 0..n made, where n is the
last number in ACKS; operation n + 1 may have happened, wholly or not at all where
one system call is atomic, and nothing of operation n + 2. Every 8-byte word of
the data names its writer, its operation and its place.

Where ACKS is a virtio port the guest's kernel takes a line and goes on before QEMU
has it: then up to LAG more operations may have returned than ACKS tells. There must
be one number of them for which all of the above holds.

The kernel may split a cached write at a page boundary: then the daemon's end leaves
a part, write() returns its length, and the operation does not count as done.
"""

import array
import errno
import json
import os
import sys
import time

# How it is started in a guest.
LOAD = "python3 /daxfuse/tests/vm/load.py"
START = f"setsid {LOAD} run /mnt/{{}} {{}} < /dev/null > /dev/null 2>&1 &"

SIZES = (1, 100, 4096, 5000, 65536, 200000)
LIVE = 60  # files that `files` keeps
RECORD = 1000
BLOCK = PAGE = 4096
BLOCKS = 1536  # of `overwrite`: three units
GONE = (errno.ENOTCONN, errno.ECONNABORTED)


def pattern(writer, operation, size):
    """`size` bytes, each word of which tells what it is."""
    start = writer << 56 | operation << 24
    words = array.array("Q", range(start, start + (size + 7) // 8))
    return words.tobytes()[:size]


def read(path):
    """A file's bytes; None if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def write(fd, data):
    """One write(); a short one means that the daemon is gone."""
    if os.write(fd, data) != len(data):
        raise OSError(errno.ENOTCONN, "short write")


def write_new(path, data):
    """Create a file with one write()."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        write(fd, data)
    finally:
        os.close(fd)


def is_part(data, whole):
    """What a write that was not acknowledged may have left: whole pages of it, or all."""
    return data == whole or len(data) % PAGE == 0 and data == whole[:len(data)]


class Files:
    """Operation n creates file n, renames file n - 1 into another folder, and
    removes file n - LIVE."""

    def __init__(self, folder, number):
        self.number = number
        self.fresh = os.path.join(folder, "files-new")
        self.kept = os.path.join(folder, "files")

    def prepare(self):
        os.mkdir(self.fresh)
        os.mkdir(self.kept)

    def data(self, n):
        return pattern(self.number, n, SIZES[n % len(SIZES)])

    def run(self, n):
        write_new(f"{self.fresh}/{n}", self.data(n))
        if n >= 1:
            os.rename(f"{self.fresh}/{n - 1}", f"{self.kept}/{n - 1}")
        if n >= LIVE:
            os.unlink(f"{self.kept}/{n - LIVE}")

    def check(self, done):
        found = {}
        for folder in (self.fresh, self.kept):
            for name in os.listdir(folder):
                if int(name) in found:
                    yield f"{name} is in both folders"
                found[int(name)] = os.path.join(folder, name)
        started = done + 1
        for n, path in found.items():
            data, want = read(path), self.data(n)
            if not started - LIVE <= n <= started:
                yield f"{path} should not exist"
            elif data != want and not (n == started and is_part(data, want)):
                yield f"{path} has wrong bytes ({len(data)} of {len(want)})"
            elif n < done and os.path.dirname(path) != self.kept:
                yield f"{path} was renamed before"
        for n in range(max(0, started - LIVE + 1), started):
            if n not in found:
                yield f"file {n} is lost"


class Append:
    """Operation n appends record n to one file, open all the time."""

    def __init__(self, folder, number):
        self.number = number
        self.path = os.path.join(folder, "append")
        self.fd = -1

    def prepare(self):
        self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def run(self, n):
        write(self.fd, pattern(self.number, n, RECORD))

    def check(self, done):
        data = read(self.path)
        end = (done + 1) * RECORD
        if not (end <= len(data) < end + RECORD and len(data) % PAGE == 0
                or len(data) in (end, end + RECORD)):
            yield f"{self.path} has {len(data)} bytes after {done + 1} records"
        for start in range(0, len(data), RECORD):
            record = data[start:start + RECORD]
            if record != pattern(self.number, start // RECORD, RECORD)[:len(record)]:
                yield f"{self.path}: record {start // RECORD} has wrong bytes"


class Replace:
    """Operation n replaces a file by its version n: write beside it, rename over it."""

    def __init__(self, folder, number):
        self.number = number
        self.path = os.path.join(folder, "current")

    def prepare(self):
        pass

    def run(self, n):
        fd = os.open(self.path + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            write(fd, pattern(self.number, n, 3 * BLOCK))
        finally:
            os.close(fd)
        os.rename(self.path + ".tmp", self.path)

    def check(self, done):
        data = read(self.path)
        if data not in (pattern(self.number, done, 3 * BLOCK),
                        pattern(self.number, done + 1, 3 * BLOCK)):
            yield f"{self.path} is neither version {done} nor {done + 1}"


class Overwrite:
    """Operation n overwrites one block of a file in place; torn at 8 bytes at worst."""

    def __init__(self, folder, number):
        self.number = number
        self.path = os.path.join(folder, "overwrite")
        self.fd = -1

    def prepare(self):
        write_new(self.path, bytes(BLOCK * BLOCKS))
        self.fd = os.open(self.path, os.O_WRONLY)

    @staticmethod
    def place(n):
        return n * 7919 % BLOCKS

    def run(self, n):
        os.lseek(self.fd, self.place(n) * BLOCK, os.SEEK_SET)
        write(self.fd, pattern(self.number, n, BLOCK))

    def check(self, done):
        data = read(self.path)
        if len(data) != BLOCK * BLOCKS:
            yield f"{self.path} has {len(data)} bytes"
        latest = {self.place(n): n for n in range(done + 1)}
        for place in range(BLOCKS):
            block = data[place * BLOCK:(place + 1) * BLOCK]
            old = pattern(self.number, latest[place], BLOCK) if place in latest else bytes(BLOCK)
            new = pattern(self.number, done + 1, BLOCK) if place == self.place(done + 1) else old
            if any(block[i:i + 8] not in (old[i:i + 8], new[i:i + 8])
                   for i in range(0, BLOCK, 8)):
                yield f"{self.path}: block {place} has wrong bytes"


WRITERS = (Files, Append, Replace, Overwrite)


def write_until_gone(kind, number, folder, acks):
    """A writer's whole life; ends when the daemon is gone, says so if anything else fails."""
    writer = kind(folder, number)
    name = kind.__name__
    n = -1
    try:
        writer.prepare()
        os.write(acks, f"{name} -1\n".encode())
        while True:
            n += 1
            writer.run(n)
            os.write(acks, f"{name} {n}\n".encode())
    except OSError as error:
        if error.errno not in GONE:
            os.write(acks, f"{name} failed: operation {n}: {error}\n".encode())


def run(folder, path):
    """Start all writers and wait for them."""
    acks = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number, kind in enumerate(WRITERS, 1):
        if os.fork() == 0:
            write_until_gone(kind, number, folder, acks)
            os._exit(0)
    for _ in WRITERS:
        os.wait()


def read_acks(path):
    """The last operation of each writer, and the lines that say that one failed."""
    done, wrong = {}, []
    data = read(path) or b""
    for line in data.decode().splitlines(keepends=True):
        name, _, rest = line.partition(" ")
        if rest.startswith("failed"):
            wrong.append(line.strip())
        elif line.endswith("\n"):
            done[name] = int(rest)
    return done, wrong


def is_busy(path, count):
    """Whether each writer has done so many operations; a failure ends the wait, too."""
    done, wrong = read_acks(path)
    return bool(wrong) or all(done.get(kind.__name__, -1) >= count - 1 for kind in WRITERS)


def check(writer, done, lag):
    """What is wrong if operations 0..done + (0..lag) have returned: [] if one of these fits,
    else what is wrong with the first."""
    first = list(writer.check(done))
    if first and any(next(writer.check(done + more), None) is None
                     for more in range(1, lag + 1)):
        return []
    return first


def verify(folder, path, lag=0):
    """Compare the folder with what was acknowledged; returns the result as a dict."""
    done, wrong = read_acks(path)
    for number, kind in enumerate(WRITERS, 1):
        if done.get(kind.__name__, -1) < 0:
            wrong.append(f"{kind.__name__} did nothing")
            continue
        try:
            wrong += check(kind(folder, number), done[kind.__name__], lag)
        except OSError as error:
            wrong.append(f"{kind.__name__}: {error}")
    return {"operations": {name: n + 1 for name, n in done.items()}, "wrong": wrong[:50]}


def main():
    """Command line."""
    if not 4 <= len(sys.argv) <= 5 or sys.argv[1] not in ("run", "wait", "verify"):
        sys.exit(__doc__)
    if sys.argv[1] == "run":
        run(*sys.argv[2:4])
    elif sys.argv[1] == "wait":
        while not is_busy(sys.argv[2], int(sys.argv[3])):
            time.sleep(0.05)
    else:
        print(json.dumps(verify(*sys.argv[2:4], *map(int, sys.argv[4:]))))


if __name__ == "__main__":
    main()
