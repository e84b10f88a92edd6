# SPDX-License-Identifier: BSD-3-Clause
"""bench-aging: how much stays in whole units as a pool ages, and what realigning gives back."""

import json
import statistics

from . import machine, tables

COLOURS = {"whole": "#1f6fb4", "full": "#999999"}
# Letters of a map (tests/bench/aging/whole.h), with what the legend says of them.
UNITS = {
    ".": ("#ffffff", "free"),
    "w": ("#1f6fb4", "whole, of one file"),
    "l": ("#e8833a", "in blocks, some of large files"),
    "b": ("#c4c4c4", "in blocks of small files"),
    "s": ("#444444", "inodes, journals"),
}


def measure(build, memory, quick, _files):
    """Run it on an image in `memory`; returns its figures."""
    image = memory / "aging.pool"
    scale = ["--size", 256 << 20, "--rounds", 1] if quick else []
    figures = json.loads(machine.command(build / "bench/bench-aging", "--pool", image, *scale))
    machine.drop(image)
    return figures


def _samples(figures, stage):
    """What was whole, again and again, while a stage was churned."""
    each = len(figures["samples"]) // len(figures["stages"])
    return [sample["whole_share"] for sample in figures["samples"][stage * each:(stage + 1) * each]]


def _rows(figures):
    for stage, row in enumerate(figures["stages"]):
        before = row["realign"]["before"]
        yield [f"{row['stage']:.0%}", f"{row['fullness']:.1%}", f"{row['written']:.1f}",
               f"{row['files']:,}", f"{row['free_bytes'] >> 20:,}", f"{row['free_units']:,}",
               f"{row['split_units']:,}", f"{row['whole_share']:.1%}",
               f"{statistics.median(_samples(figures, stage)):.1%}",
               f"{min(_samples(figures, stage)):.1%}", f"{row['whole_share_of_runs']:.1%}",
               f"{row['large_files_aligned']} of {row['large_files']}",
               f"{before['units_whole']} of {before['units']}", row["realign"]["gathered"]]


def _realigned(figures):
    """(what was realigned, fullness, figures) of each case that is shown."""
    churned = figures["stages"][1]
    yield f"churned at {churned['stage']:.0%}", churned["fullness"], churned["realign"]
    for number, row in enumerate(figures["crowd"]):
        name = ["crowded", "a quarter removed", "another quarter", "another"][number]
        yield name, row["fullness"], row["realign"]


def _share(look):
    return look["bytes_whole"] / look["bytes"] if look["bytes"] else 1


def _realign_rows(figures):
    for name, fullness, realign in _realigned(figures):
        before, after = realign["before"], realign["after"]
        yield [name, f"{fullness:.1%}", f"{before['files']:,}",
               f"{before['units_whole']:,} of {before['units']:,}", f"{after['units_whole']:,}",
               f"{_share(before):.1%}", f"{_share(after):.1%}", f"{before['free_units']:,}",
               f"{after['free_units']:,}", f"{before['split_units']:,}",
               f"{after['split_units']:,}", f"{realign['seconds'] * 1000:,.0f}"]


def _draw_map(axes, look, title):
    columns = 64
    colours = [tables.rgb(UNITS[letter][0]) for letter in look["map"]]
    colours += [tables.rgb("#ffffff")] * (-len(colours) % columns)
    lines = [colours[i:i + columns] for i in range(0, len(colours), columns)]
    axes.imshow(lines, interpolation="nearest", aspect="auto")
    axes.set_title(f"{title}: {_share(look):.1%} of large files whole", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def _plot_maps(folder, figures):
    """docs/bench/aging-realign.png: each unit of the pool, before and after."""
    cases = list(_realigned(figures))
    figure, axes = tables.pyplot.subplots(len(cases), 2, figsize=(9, 2 * len(cases) + 0.5))
    for (name, fullness, realign), (left, right) in zip(cases, axes):
        _draw_map(left, realign["before"], "before")
        _draw_map(right, realign["after"], "after")
        left.set_ylabel(f"{name}\n({fullness:.0%} full)", fontsize=9)
    figure.legend(handles=[tables.patch(*unit) for unit in UNITS.values()], loc="lower center",
                  ncols=len(UNITS), fontsize=8)
    tables.save_plot(folder, "aging-realign", figure, bottom=0.04)


def plot(folder, figures):
    """And docs/bench/aging.png: the share of whole units while the pool is written over."""
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
    _plot_maps(folder, figures)


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
        "make if it lay together, at the end of the stage; `median` and `least` the same over all "
        "samples of the stage. No run is like another, as two threads share the pool: in eleven "
        "runs of November 2026 the end of the 75 % stage was between 88 and 99 %, its median "
        "between 96 and 99 %. `of runs` looks at the free space that lies in runs of 2 MiB and more, "
        "wherever they begin: how much of it is whole units. Then new files of "
        f"{large} MiB are written until there are no whole units for another, and those counted "
        "that lie in whole aligned units only. `old files whole` counts the 2 MiB parts of all "
        "files of 2 MiB and more that the churn has left, and those that are whole units; "
        "`realigned` is what `daxfuse realign` then found to gather.",
        "",
        tables.table(["stage", "full", "written (pools)", "files", "free MiB", "free units",
                      "split units", "whole", "median", "least", "of runs",
                      "new large files aligned", "old files whole", "realigned"],
                     _rows(figures)),
        "![share of free space in whole units](aging.png)", "",
        "## Realigning", "",
        "Churning leaves nothing to gather: files of 2 MiB and more get whole units as they grow, "
        "as long as there are any. So a pool in which there were none: `crowded` is one that was "
        "filled with large files and as many bytes of small ones (up to 128 KiB) in between, of "
        "which three in four were removed; then it was filled again, with large files "
        f"(`tests/bench/aging/crowd.h`). These lie in the holes. It is realigned while it is full, "
        "and then each time after a quarter of all its files, large or small, was removed at "
        "random.", "",
        "`units whole` counts the 2 MiB parts of files of 2 MiB and more, `bytes` all bytes of "
        "these files, their ends included (an end of at most 256 KiB stays in blocks).", "",
        tables.table(["realigned", "full", "large files", "units whole", "after", "bytes whole",
                      "after", "free units", "after", "split units", "after", "ms"],
                     _realign_rows(figures)),
        "![each unit of the pool before and after](aging-realign.png)", "",
        "As long as a part of a file lies in blocks, realigning takes free units for it, down to "
        "the last. It does not make free units: the blocks that it leaves are spread over many "
        "split units, and most of these still hold blocks of other files, which are not "
        "moved.", ""])
