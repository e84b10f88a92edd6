# SPDX-License-Identifier: BSD-3-Clause
"""bench-aging: how much stays in whole units as a pool ages."""

import json
import statistics

from . import machine, tables

COLOURS = {"whole": "#1f6fb4", "full": "#999999"}


def measure(build, memory, quick, _files):
    """Run it on an image in `memory`; returns its figures."""
    image = memory / "aging.pool"
    scale = ["--size", 256 << 20, "--rounds", 1] if quick else []
    figures = json.loads(machine.command(build / "bench/bench-aging", "--pool", image, *scale))
    machine.drop(image)
    return figures


def _median(figures, stage):
    """Of the samples while a stage was churned."""
    each = len(figures["samples"]) // len(figures["stages"])
    samples = figures["samples"][stage * each:(stage + 1) * each]
    return statistics.median(sample["whole_share"] for sample in samples)


def _rows(figures):
    for stage, row in enumerate(figures["stages"]):
        yield [f"{row['stage']:.0%}", f"{row['fullness']:.1%}", f"{row['written']:.1f}",
               f"{row['files']:,}", f"{row['free_bytes'] >> 20:,}", f"{row['free_units']:,}",
               f"{row['broken_units']:,}", f"{row['whole_share']:.1%}",
               f"{_median(figures, stage):.1%}", f"{row['whole_share_of_runs']:.1%}",
               f"{row['large_files_aligned']} of {row['large_files']}",
               f"{row['old_units_whole']} of {row['old_units']}", row["realigned_units"]]


def plot(folder, figures):
    """docs/bench/aging.png: the share of whole units while the pool is written over."""
    samples = figures["samples"]
    written = [sample["written"] for sample in samples]
    figure, axes = tables.pyplot.subplots(figsize=(8, 4))
    axes.plot(written, [100 * s["whole_share"] for s in samples], color=COLOURS["whole"],
              label="free space in whole 2 MiB units")
    axes.plot(written, [100 * s["fullness"] for s in samples], color=COLOURS["full"],
              linestyle="--", label="fullness")
    for row in figures["stages"]:
        axes.annotate(f"new large files aligned: {row['large_files_aligned']}"
                      f"/{row['large_files']}", (row["written"], 100 * row["fullness"]),
                      textcoords="offset points", xytext=(-4, -14), ha="right", fontsize=8)
    axes.axhline(95, color="#cc4444", linewidth=0.8, linestyle=":", label="target at 75 % full")
    axes.set_xlabel("written, in sizes of the pool")
    axes.set_ylabel("%")
    axes.set_ylim(0, 105)
    axes.legend(loc="lower right", fontsize=8)
    tables.save_plot(folder, "aging", figure)


def report(figures, described):
    """The text of docs/bench/aging.md."""
    large = figures["stages"][0]["large_file_bytes"] >> 20
    return "\n".join([
        "# Ageing", "",
        described, "",
        f"Made by `tests/bench/run aging`: a pool of {figures['pool_bytes'] / 2**30:g} GiB is "
        "filled to 50, 75 and 90 % and churned at each by two threads: four files of each grow "
        "at the same time in pieces of 32 KiB to 1 MiB, 10 % of the steps append up to 64 KiB "
        "to an old file, 2 % truncate one, and removals (half of them among the youngest tenth) "
        "hold the fullness. Sizes are log-normal (mu 9.48, sigma 2.46 of ln bytes) with a "
        "Pareto tail (one file in 16,000, exponent 0.91), at most a 32nd of the pool "
        "(`tests/bench/aging/sizes.h`).", "",
        "`whole` is the number of free whole units over the number that the free space would "
        "make if it lay together, at the end of the stage; `median` the same over all samples of "
        "the stage. `of runs` looks at the free space that lies in runs of 2 MiB and more, "
        "wherever they begin: how much of it is whole units. Then new files of "
        f"{large} MiB are written until there are no whole units for another, and those counted "
        "that lie in whole aligned units only. `old files whole` counts the 2 MiB parts of all "
        "files of 2 MiB and more that the churn has left, and those that are whole units; "
        "`realigned` is what `daxfuse realign` would still find to gather.",
        "",
        tables.table(["stage", "full", "written (pools)", "files", "free MiB", "free units",
                      "broken units", "whole", "median", "of runs",
                      "new large files aligned", "old files whole", "realigned"],
                     _rows(figures)),
        "![share of free space in whole units](aging.png)", ""])
