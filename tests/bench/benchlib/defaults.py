# SPDX-License-Identifier: BSD-3-Clause
"""A mount without options: what mappings get, and what reading files again costs, in each mode of dax=."""

import contextlib
import json
import os
import pathlib
import random
import shutil
import statistics
import time

from . import machine, mount, tables

MODES = ("inode", "auto", "always")
DEFAULT = "auto"


class Scale:
    """How much each row does."""

    def __init__(self, quick):
        self.rounds = 2 if quick else 8
        self.sources = 3 if quick else 20      # C files that are compiled
        self.tree = 50 if quick else 4000      # files of the git tree
        self.large_mib = 8 if quick else 128   # files that are read and mapped
        self.reads = 100 if quick else 20000   # of 4 KiB each
        self.starts = 2 if quick else 20       # of a program on the mount
        self.pool = (256 << 20) if quick else (2 << 30)


@contextlib.contextmanager
def _pool(build, memory, mode, size):
    image, root = memory / f"{mode}.img", memory / f"mount-{mode}"
    root.mkdir()
    with open(image, "wb") as file:
        file.truncate(size)
    machine.command(build / "bin/mkfs.daxfuse", "-q", image)
    machine.command(build / "bin/daxfuse", image, root, "-o", f"dax={mode}")
    try:
        yield root, json.loads(machine.command(build / "bin/daxfuse", "status", root))["mount"]["pid"]
    finally:
        machine.command(build / "bin/daxfuse", "umount", "--wait", root)
        machine.drop(image)
        root.rmdir()


def _make_sources(folder, count):
    """C files that include each other's headers and some of the C library's."""
    folder.mkdir()
    for i in range(count):
        (folder / f"part{i}.h").write_text(f"int part{i}(int);\n" + f"/* {'x' * 70} */\n" * 200)
        includes = "".join(f'#include "part{j}.h"\n' for j in range(count))
        (folder / f"part{i}.c").write_text(
            f"#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n{includes}"
            f"int part{i}(int x) {{ return x ? part{(i + 1) % count}(x - 1) : {i}; }}\n")
    (folder / "main.c").write_text('#include "part0.h"\nint main(void) { return part0(9); }\n')


def _seconds(*words, **options):
    start = time.monotonic()
    machine.command(*words, **options)
    return time.monotonic() - start


def _compile(root):
    """All objects anew, and the program."""
    folder = root / "sources"
    script = 'rm -f *.o; for f in *.c; do cc -c "$f" || exit 1; done; cc -o program *.o'
    return _seconds("sh", "-c", script, cwd=folder)


def _grep(folder):
    return _seconds("sh", "-c", f"! grep -r 'nowhere to be found' {folder} >/dev/null")


def _pack_mib(root):
    return sum(path.stat().st_size for path in root.glob("clone/.git/objects/pack/*.pack")) >> 20


def _read_again(path, flags, count):
    """Seconds for preads of 4 KiB at random places, after all of it was read once."""
    numbers, fd = random.Random(1), os.open(path, flags)
    try:
        pages = os.fstat(fd).st_size // 4096
        while os.read(fd, 1 << 20):
            pass
        start = time.monotonic()
        for _ in range(count):
            os.pread(fd, 4096, numbers.randrange(pages) * 4096)
        return time.monotonic() - start
    finally:
        os.close(fd)


def _start(root, count):
    program = root / "python3"
    start = time.monotonic()
    for _ in range(count):
        machine.command(program, "-S", "-E", "-c", "pass")
    return time.monotonic() - start


def _fio(folder, size, *prefix):
    """MiB/s and minor faults of 4 KiB stores to a mapping, here and there."""
    words = ["fio", "--name=map", f"--directory={folder}", "--ioengine=mmap", "--rw=randwrite", "--bs=4k",
             f"--size={size}m", "--thread", "--output-format=json", "--randrepeat=1",
             f"--aux-path={folder}", "--norandommap"]
    (job,) = json.loads(machine.command(*prefix, *words))["jobs"]
    for path in folder.glob("map.*"):
        path.unlink()
    return {"fio": job["write"]["bw_bytes"] / 2**20, "faults": job["minf"]}


def _prepare(root, sources, tree, scale):
    shutil.copytree(sources, root / "sources")
    machine.command("git", "clone", "-q", "--no-local", "--no-hardlinks", tree / "source", root / "clone")
    (root / "large").write_bytes(os.urandom(1 << 20) * scale.large_mib)
    (root / "small").write_bytes(os.urandom(256 << 10))
    shutil.copy("/usr/bin/python3", root / "python3")
    (root / "maps").mkdir()


def _cpu(pid):
    """Seconds of all threads of a process; the kernel counts them in nanoseconds."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def _round(build, root, pid, scale):
    """All rows of one mode, once: seconds, and those that the daemon worked."""
    rows = {}

    def row(name, call, *args):
        before = _cpu(pid)
        rows[name] = {"seconds": call(*args), "daemon": _cpu(pid) - before}

    for again in ("first", "second"):
        row(f"compile {scale.sources} files, {again} time", _compile, root)
        row(f"git status, {scale.tree} files, {again} time", _seconds, "git", "-C", root / "clone", "status",
            "--short")
        row(f"grep -r, {scale.tree} files, {again} time", _grep, root / "clone/folder-*")
    row(f"grep -r in .git, a pack of {_pack_mib(root)} MiB", _grep, root / "clone/.git")
    row(f"read 256 KiB again, {scale.reads} times 4 KiB, read only", _read_again, root / "small",
        os.O_RDONLY, scale.reads)
    row("... open for writing, too", _read_again, root / "small", os.O_RDWR, scale.reads)
    row(f"read {scale.large_mib} MiB again, {scale.reads} times 4 KiB, read only", _read_again,
        root / "large", os.O_RDONLY, scale.reads)
    row(f"cat {scale.large_mib} MiB again", _seconds, "sh", "-c", f"cat {root}/large >/dev/null")
    row(f"start a program of {os.stat(root / 'python3').st_size >> 20} MiB {scale.starts} times", _start,
        root, scale.starts)
    rows["daxfuse run fio"] = _fio(root / "maps", scale.large_mib, build / "bin/daxfuse", "run", "--")
    return rows


def measure(build, memory, quick, _files):
    """Rounds of all modes, one after the other, in one run."""
    scale = Scale(quick)
    tree = memory / "tree"
    tree.mkdir()
    mount.make_tree(tree, scale.tree)
    _make_sources(memory / "sources", scale.sources)
    raw = memory / "raw"
    raw.mkdir()
    figures = {"scale": vars(scale), "rounds": {mode: [] for mode in MODES}, "raw": []}
    with contextlib.ExitStack() as stack:
        pools = {mode: stack.enter_context(_pool(build, memory, mode, scale.pool)) for mode in MODES}
        for root, _ in pools.values():
            _prepare(root, memory / "sources", tree, scale)
        for number in range(scale.rounds):
            for mode in MODES[::-1] if number % 2 else MODES:
                figures["rounds"][mode].append(_round(build, *pools[mode], scale))
            figures["raw"].append(_fio(raw, scale.large_mib))
    figures["load"] = os.getloadavg()[0]
    return figures


def _medians(rounds, row):
    values = [one[row] for one in rounds]
    return {key: statistics.median(value[key] for value in values) for key in values[0]}


def _fastest(rounds, row):
    return min(one[row]["seconds"] for one in rounds)


def _time_rows(figures):
    rounds = figures["rounds"]
    for row in rounds[DEFAULT][0]:
        if row == "daxfuse run fio":
            continue
        fastest = {mode: _fastest(rounds[mode], row) for mode in MODES}
        medians = {mode: _medians(rounds[mode], row) for mode in MODES}
        yield [row, *(f"{fastest[mode]:.3f}" for mode in MODES),
               f"{fastest[DEFAULT] / fastest['inode']:.2f}",
               *(f"{medians[mode]['seconds']:.3f}" for mode in ("inode", DEFAULT)),
               *(f"{1000 * medians[mode]['daemon']:.1f}" for mode in ("inode", DEFAULT))]


def _map_rows(figures):
    raw = statistics.median(one["fio"] for one in figures["raw"])
    for mode in MODES:
        got = _medians(figures["rounds"][mode], "daxfuse run fio")
        yield [f"dax={mode}", tables.number(got["fio"]), f"{got['fio'] / raw:.2f}",
               f"{got['faults']:,.0f}"]
    yield ["memory itself (tmpfs, huge pages)", tables.number(raw), "1.00",
           f"{statistics.median(one['faults'] for one in figures['raw']):,.0f}"]


def report(figures, described):
    """The text of docs/bench/defaults.md."""
    scale = figures["scale"]
    return "\n".join([
        "# A mount without options", "",
        described + f" At the end it was {figures['load']:.1f}: where that is more than 1, others used the "
        "machine meanwhile, and single rows are worth no more than the spread says.", "",
        f"Made by `tests/bench/run defaults`: three mounts in one run, {scale['rounds']} rounds of all rows of "
        "each mode in turns. `dax=inode` was the default before: files without the flag go "
        "through the page cache. `dax=auto` is it now ([which files](../guide/daxmap.md#which-files)).", "",
        "## Mappings", "",
        f"fio, ioengine=mmap, 4 KiB stores here and there in {scale['large_mib']} MiB, a new file, under "
        "`daxfuse run`.", "",
        tables.table(["", "MiB/s", "of memory", "minor faults"], _map_rows(figures)),
        "## Reading again", "",
        "Seconds; less is better. The fastest of all rounds says most about a row on a machine with other things to "
        "do; the daemon's own time (milliseconds of its threads, median) says whether files came from it or from the "
        "page cache, whatever else runs.", "",
        tables.table(["", "inode", "auto", "always", "auto / inode", "inode, median", "auto, median",
                      "daemon, inode", "daemon, auto"], _time_rows(figures)),
        "Small files that are read again (sources, a git tree, programs) are in the page cache as before. What "
        "auto costs is reading 4 KiB again and again through a descriptor that may be mapped: one that is "
        "open for writing, too, or of a file of 2 MiB or more; each is a trip to the daemon there. `dax=inode` "
        "is there for programs that live by that.", ""])
