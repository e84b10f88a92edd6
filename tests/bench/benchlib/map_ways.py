# SPDX-License-Identifier: BSD-3-Clause
"""The ways in which a program can have a file in its memory, all on the same tmpfs."""

import contextlib
import os
import re
import subprocess
import time

from . import machine, peers

MIB = 1 << 20
RAW, RAW_4K, SMALL = "raw, huge", "raw, huge, 4 KiB", "raw, small"
DIRECT, DIRECT_4K, CACHE = "direct, huge", "direct, 4 KiB", "page cache"
# What the daemon does after the last close of a file is not to disturb who comes next.
PAUSE = 0.2


class Way:
    """Where the files are, and how a program is run."""

    def __init__(self, name, folder, prefix=()):
        self.name = name
        self.folder = folder
        self.prefix = [str(word) for word in prefix]

    def run(self, *words, **environment):
        """The stdout of a program that must succeed."""
        out = machine.command(*self.prefix, *words, env={**os.environ, **environment})
        if self.name in (DIRECT, DIRECT_4K):
            time.sleep(PAUSE)
        return out

    def is_direct(self):
        """Whether libdaxmap has a part in it."""
        return self.name in (DIRECT, DIRECT_4K)

    def inspect(self, *words):
        """The same program under strace, for what can be counted: calls, signals, pages."""
        trace = self.folder.parent / "trace"
        done = subprocess.run(["strace", "-f", "-o", trace, "-e", "trace=ioctl,mmap,munmap", "env",
                               "DAXMAP_VERBOSE=1", *self.prefix, *map(str, words)],
                              check=True, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        text = trace.read_text()
        trace.unlink()
        return {"map_ioctls": len(re.findall(r"0xdf, 0xb, ", text)),
                "unmap_ioctls": len(re.findall(r"0xdf, 0xc, ", text)),
                "mmaps": len(re.findall(r"mmap\(.*MAP_SHARED\|MAP_FIXED, ", text)),
                "signals": len(re.findall(r"--- SIG(?:SEGV|BUS)", text)),
                "mapped": mapped(done.stderr)}


def mapped(text):
    """What DAXMAP_VERBOSE says of all mappings together, in bytes; {} if there were none."""
    total = {}
    for line in text.splitlines():
        if line.startswith("daxmap: ") and " huge " in line:
            for kind, size in re.findall(r"\b(huge|pages|zero|absent) (\d+)", line):
                total[kind] = total.get(kind, 0) + int(size)
    return total


def fill(path, size):
    """A file that has its memory."""
    part = bytes(range(1, 256)) * (2 * MIB // 255) + bytes(2 * MIB % 255)
    with open(path, "wb", buffering=0) as file:
        for _ in range(size // len(part)):
            file.write(part)


def forget_pages(path):
    """What the kernel caches of a file goes, written back."""
    with open(path, "rb") as file:
        os.fsync(file)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextlib.contextmanager
def _small_tmpfs(memory):
    folder = memory / "small"
    folder.mkdir()
    machine.command("mount", "-t", "tmpfs", "-o", "huge=never,size=90%", "tmpfs", folder)
    try:
        yield folder
    finally:
        peers.unmount(folder)
        folder.rmdir()


@contextlib.contextmanager
def _mounted(build, memory, size):
    """A pool all of whose memory is there: the kernel's zeroing of new pages is not measured."""
    image, root = memory / "map.pool", memory / "mount"
    root.mkdir()
    fill(image, size)
    machine.command(build / "bin/mkfs.daxfuse", "--force", image)
    machine.command(build / "bin/daxfuse", image, root, "-o", "dax=always")
    try:
        yield root
    finally:
        machine.command(build / "bin/daxfuse", "umount", "--wait", root)
        machine.drop(image)
        root.rmdir()


@contextlib.contextmanager
def all_ways(build, memory, pool):
    """Every way by its name."""
    unaligned = build / "bench/libbench-unaligned.so"
    preload = build / "lib/libdaxmap-preload.so"
    raw = memory / "raw"
    raw.mkdir()
    with _small_tmpfs(memory) as small, _mounted(build, memory, pool) as root:
        ways = [Way(RAW, raw), Way(DIRECT, root, [build / "bin/daxfuse", "run", "--"]),
                Way(SMALL, small),
                Way(DIRECT_4K, root, ["env", f"LD_PRELOAD={unaligned}:{preload}"]),
                Way(RAW_4K, raw, ["env", f"LD_PRELOAD={unaligned}"]), Way(CACHE, root)]
        yield {way.name: way for way in ways}
    raw.rmdir()
