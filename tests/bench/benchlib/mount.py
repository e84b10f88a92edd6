# SPDX-License-Identifier: BSD-3-Clause
"""Through the mount: what programs get, beside peers on the same memory."""

import json
import os
import pathlib
import random
import shutil
import signal
import time

from . import machine, peers, tables

POOL = 3 << 30
# name, fio's --rw, block size, jobs
FIO_ROWS = [(f"{label}, {jobs} job{'s' * (jobs > 1)}", rw, size, jobs)
            for rw, size, label in (("read", "1M", "sequential read, 1 MiB"),
                                    ("write", "1M", "sequential write, 1 MiB"),
                                    ("randread", "4k", "random read, 4 KiB"),
                                    ("randwrite", "4k", "random write, 4 KiB"))
            for jobs in (1, 4)]
FILE_ROWS = {"create": "create", "stat": "stat", "rename": "rename", "unlink": "unlink",
             "append": "append 4 KiB", "durable": "write 4 KiB and fsync"}


class Scale:
    """How much each row does."""

    def __init__(self, quick, files):
        self.file_mib = 4 if quick else 256    # of each fio job's file
        self.random_mib = 1 if quick else 32   # moved by each random job
        self.files = 200 if quick else files
        self.tree = 50 if quick else 4000      # files of git clone and tar
        self.pool = (256 << 20) if quick else POOL


def _fio(root, rw, size, jobs, scale):
    """MiB/s of all jobs together; writes include the fsync at the end."""
    options = ["--name=job", f"--directory={root}", f"--rw={rw}", f"--bs={size}",
               f"--numjobs={jobs}", "--ioengine=psync", f"--size={scale.file_mib}m",
               "--group_reporting", "--output-format=json", "--end_fsync=1", "--fallocate=none",
               "--randrepeat=1", "--unlink=0"]
    if rw.startswith("rand"):
        options.append(f"--io_size={scale.random_mib}m")
    result = json.loads(machine.command("fio", *options))
    side = result["jobs"][0]["read" if rw.endswith("read") else "write"]
    return side["bw_bytes"] / 2**20


def _files(build, root, files):
    rates = {}
    for jobs in (1, 4):
        folder = root / f"files-{jobs}"
        folder.mkdir()
        result = json.loads(machine.command(build / "bench/bench-files", folder, files, jobs))
        for key, label in FILE_ROWS.items():
            rates[f"{label}, {jobs} job{'s' * (jobs > 1)}"] = result[key]
        shutil.rmtree(folder)
    return rates


def make_tree(folder, count):
    """A source tree of `count` files as a git repository and as a tar, on tmpfs."""
    source = folder / "source"
    numbers = random.Random(1)
    for i in range(count):
        path = source / f"folder-{i % (count // 20 + 1)}" / f"file-{i}.c"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = min(int(numbers.lognormvariate(8.3, 1.2)), 1 << 20)
        path.write_bytes(numbers.randbytes(size // 2).hex().encode())
    machine.command("tar", "-cf", folder / "tree.tar", "-C", folder, "source")
    git = ["git", "-C", source, "-c", "user.name=bench", "-c", "user.email=bench"]
    machine.command(*git[:3], "init", "-q")
    machine.command(*git, "add", ".")
    machine.command(*git, "commit", "-q", "-m", "tree")


def _seconds(*words):
    start = time.monotonic()
    machine.command(*words)
    return time.monotonic() - start


def _programs(root, tree):
    """Runs per minute of git clone and tar x (so that more is better in each row)."""
    clone = _seconds("git", "clone", "-q", "--no-local", "--no-hardlinks", tree / "source",
                     root / "clone")
    untar = _seconds("tar", "-xf", tree / "tree.tar", "-C", root)
    shutil.rmtree(root / "clone")
    shutil.rmtree(root / "source")
    return {"git clone": 60 / clone, "tar x": 60 / untar}


def _measure_peer(build, peer, memory, tree, scale):
    rows = {}
    with peer.mount(memory, scale.pool) as root:
        for name, rw, size, jobs in FIO_ROWS:
            rows[name] = _fio(root, rw, size, jobs, scale)
        for path in root.glob("job.*"):
            path.unlink()
        rows.update(_files(build, root, scale.files))
        rows.update(_programs(root, tree))
    return rows


def _own_memory(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) << 10


def _mount_once(build, image, root):
    """Seconds until the mount is usable, bytes of the daemon's own, and its pid."""
    took = _seconds(build / "bin/daxfuse", image, root)
    os.stat(root)
    pid = peers.daemon_of(image)
    return took, _own_memory(pid), pid


def _measure_mounts(build, memory, quick):
    """Mount times of the daemon: clean and after SIGKILL, large and full pools."""
    image, root = memory / "mount.img", memory / "mount"
    root.mkdir()
    figures = {}
    with open(image, "wb") as file:
        file.truncate((16 if quick else 1024) << 30)
    machine.command(build / "bin/mkfs.daxfuse", image)
    figures["large_bytes"] = os.stat(image).st_size
    figures["large"], figures["large_memory"], _ = _mount_once(build, image, root)
    machine.command(build / "bin/daxfuse", "umount", "--wait", root)
    machine.drop(image)
    figures["files"] = 5000 if quick else 1000000
    machine.command(build / "bench/bench-core", "--pool", image, "--count", 1000,
                    "--files", figures["files"], "--large", 0)
    figures["full"], figures["full_memory"], pid = _mount_once(build, image, root)
    os.kill(pid, signal.SIGKILL)
    peers.unmount(root)
    figures["killed"], _, _ = _mount_once(build, image, root)
    machine.command(build / "bin/daxfuse", "umount", "--wait", root)
    machine.drop(image)
    root.rmdir()
    return figures


def measure(build, memory, quick, files):
    """All rows of all peers, and the mount times."""
    scale = Scale(quick, files)
    tree = memory / "tree"
    tree.mkdir()
    make_tree(tree, scale.tree)
    figures = {"peers": {}, "kinds": {}, "scale": vars(scale)}
    for peer in peers.all_peers(build):
        figures["kinds"][peer.name] = peer.kind
        figures["peers"][peer.name] = _measure_peer(build, peer, memory, tree, scale)
    shutil.rmtree(tree)
    figures["mounts"] = _measure_mounts(build, memory, quick)
    return figures


def _best(figures, kind, row):
    """The highest figure of the peers of a kind, and which peer that is."""
    return max((rows[row], name) for name, rows in figures["peers"].items()
               if figures["kinds"][name] == kind)


def _unit(row):
    if row.startswith(("sequential", "random")):
        return "MiB/s"
    return "1/min" if row in ("git clone", "tar x") else "1/s"


def _rows(figures):
    for row in next(iter(figures["peers"].values())):
        best, _ = _best(figures, "daxfuse", row)
        fuse, _ = _best(figures, "FUSE", row)
        kernel, _ = _best(figures, "kernel", row)
        yield [row, _unit(row), *(tables.number(rows[row]) for rows in figures["peers"].values()),
               f"{best / fuse:.2f}", f"{best / kernel:.2f}"]


def plot(folder, figures):
    """docs/bench/mount.png: daxfuse over the best FUSE peer, a bar a row."""
    rows = list(next(iter(figures["peers"].values())))
    figure, axes = tables.pyplot.subplots(figsize=(8, 7))
    names = [name for name, kind in figures["kinds"].items() if kind == "daxfuse"]
    height = 0.8 / len(names)
    for number, name in enumerate(names):
        ratios = [figures["peers"][name][row] / _best(figures, "FUSE", row)[0] for row in rows]
        axes.barh([y + number * height for y in range(len(rows))], ratios, height, label=name)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks([y + 0.4 - height / 2 for y in range(len(rows))], rows, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log", base=2)
    axes.set_xlabel("times the best FUSE peer (bindfs, fuse2fs)")
    axes.legend(fontsize=8)
    tables.save_plot(folder, "mount", figure)


def _mount_rows(mounts):
    mib = 1 << 20
    return [
        [f"sparse image of {mounts['large_bytes'] / 2**40:g} TiB", f"{mounts['large']:.2f} s",
         f"{mounts['large_memory'] / mib:.1f} MiB"],
        [f"{mounts['files']:,} files", f"{mounts['full']:.2f} s",
         f"{mounts['full_memory'] / mib:.1f} MiB"],
        [f"{mounts['files']:,} files, after SIGKILL", f"{mounts['killed']:.2f} s", ""]]


def report(figures, described):
    """The text of docs/bench/mount.md."""
    scale = figures["scale"]
    return "\n".join([
        "# Through the mount", "",
        described, "",
        "Made by `tests/bench/run mount`, one run, every file system on memory of the same "
        "kind: tmpfs and ext4 (a loop device on tmpfs) are the kernel's limit, bindfs (on "
        "tmpfs) and fuse2fs (image on tmpfs) are FUSE peers. Neither peer makes anything "
        "durable before fsync; daxfuse does, in each call. `DAX` is a mount with dax=always: "
        "reads and writes bypass the page cache. More is better in every row. fio: psync, "
        f"files of {scale['file_mib']} MiB, page cache dropped before each row, random rows move "
        f"{scale['random_mib']} MiB a job, writes end with an fsync. Files: {scale['files']:,}, a "
        "thousand in each folder, (`tests/bench/mount/files.c`). git clone and tar x: a tree of "
        f"{scale['tree']:,} source files. The two last columns set the best daxfuse beside the best "
        "FUSE peer and the best of the kernel's.", "",
        tables.table(["", "", *figures["peers"], "/ FUSE", "/ kernel"], _rows(figures)),
        "![times the best FUSE peer](mount.png)", "",
        "The two daxfuse columns without io_uring are the default (restartable, `-o "
        "keeper=supervisor`). io_uring answers four jobs faster where requests are small, "
        "and one job slower where each waits for the one before (create, rename, write and "
        "fsync), presumably as the ring's thread must be woken each time (not measured). A "
        "throw-away daemon on io_uring once gave, on a machine like this: create 25,700/s, "
        "stat 84,000, unlink 23,600, 4 KiB append 57,000, write and fsync 4,600, random 4 "
        "KiB write 300 MiB/s, 1 MiB sequential read and write 1,526 and 1,178 MiB/s. With "
        "one job daxfuse is behind that in create (it makes each durable, in a directory "
        "that is, too) and append, and ahead in the others.", "",
        "## Time to mount, and the daemon's own memory", "",
        tables.table(["", "until usable", "memory"], _mount_rows(figures["mounts"]))])
