# SPDX-License-Identifier: BSD-3-Clause
"""bench-core and bench-entries: latency and fences of each operation, without FUSE."""

import json

from . import machine, tables

MIB = 1 << 20
# What taking an entry and giving it back may cost when nobody else wants it.
ENTRY_NS = 100


def measure(build, memory, quick, _files):
    """Run it on an image in `memory`; returns its figures."""
    image = memory / "core.pool"
    scale = ["--count", 2000, "--files", 20000, "--large", 1 << 34] if quick else []
    figures = json.loads(machine.command(build / "bench/bench-core", "--pool", image, *scale))
    machine.drop(image)
    count = [200000] if quick else []
    figures["entries"] = json.loads(machine.command(build / "bench/bench-entries", *count))
    return figures


def _operations(figures):
    copy = figures["operations"]["copy_4k"]["one_thread"]["mean_ns"]
    for name, row in figures["operations"].items():
        one, two = row["one_thread"], row["two_threads"]
        cost = one["mean_ns"] - (copy if name == "overwrite_4k" else 0)
        target = row["target_ns"]
        verdict = "" if not target else ("met" if cost <= target else "missed")
        yield [name, *(f"{one[key]:,.0f}" for key in ("mean_ns", "median_ns", "p99_ns")),
               f"{one['fences']:.2f}", f"{two['mean_ns']:,.0f}", f"{row['scaling']:.2f}",
               f"{row['scaling_of_medians']:.2f}",
               f"{target:,}" if target else "", verdict]


def _many(many):
    return [
        ["create, mean of all", f"{many['create']['mean_ns']:,.0f} ns"],
        ["lookup of a random name", f"{many['lookup']['mean_ns']:,.0f} ns"],
        ["the same in a directory of 1,000", f"{many['lookup_small_directory']['mean_ns']:,.0f} ns"],
        ["mount", f"{many['mount_ms']:.1f} ms"],
        ["memory of the mounted file system", f"{many['memory_bytes'] / MIB:.1f} MiB"],
    ]


def _entries(entries):
    names = {"huge_1_gib": "1 GiB, units", "huge_1_tib": "1 TiB, units",
             "pages_1_gib": "1 GiB, pages"}
    for key, name in names.items():
        row = entries[key]
        cost = row["take_and_give_back_ns"]
        yield [name, f"{cost:.0f}", f"{row['scaling']:.2f}", f"{row['bytes_per_unit']:,.1f}",
               ENTRY_NS, "met" if cost <= ENTRY_NS else "missed"]


def report(figures, described):
    """The text of docs/bench/core.md."""
    many, large, small = (figures[key] for key in ("many_files", "large_pool", "small_files"))
    return "\n".join([
        "# The core, without FUSE", "",
        described, "",
        "Made by `tests/bench/run core`. Nanoseconds a call; the second half is two threads in "
        "different directories. `scaling` is the throughput of two threads over that of one, once measured as a whole "
        "and once from the medians, which are free of what else the machine did; "
        "`persist_line` (one store, flush and fence in memory of the thread's own) says what "
        "the machine itself gives. `overwrite_4k` is allowed its target on top of `copy_4k`, "
        "the bare non-temporal copy of the same 4 KiB and its fence. unlink and rmdir contain "
        "a lookup and the forget that frees the object.", "",
        tables.table(["operation", "mean", "median", "p99", "fences", "mean, 2 threads",
                      "scaling", "of medians", "target", ""], _operations(figures)),
        f"## A directory of {many['files']:,} files", "",
        tables.table(["", ""], _many(many)),
        f"## An empty pool of {large['bytes'] / 2**40:g} TiB", "",
        tables.table(["", ""], [
            ["mkfs and mount", f"{large['mkfs_and_mount_ms']:.1f} ms"],
            ["mount", f"{large['mount_ms']:.1f} ms"],
            ["memory of the mounted file system", f"{large['memory_bytes'] / MIB:.1f} MiB"]]),
        f"## {small['files']:,} files of {small['file_bytes']:,} bytes", "",
        f"They take {small['taken_bytes'] / MIB:.1f} MiB of the pool, "
        f"{small['taken_bytes'] / small['files']:.0f} bytes each, directory and inodes "
        "included.", "",
        "## Entries of a mapped file", "",
        "What every fault does first: find the entry of a random page, lock it and give it back "
        "([mapping](../design/mapping.md)). Nanoseconds; `scaling` with two threads in different "
        "units; bytes of memory per unit mapped.", "",
        tables.table(["file, mapped as", "take and give back", "scaling", "bytes a unit", "target",
                      ""], _entries(figures["entries"]))])
