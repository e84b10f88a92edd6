# SPDX-License-Identifier: BSD-3-Clause
"""docs/bench/map.md and map.png."""

import statistics

from . import tables
from .map_ways import CACHE, DIRECT, DIRECT_4K, MIB, RAW, RAW_4K, SMALL

# Beside a fault for each unit: what else the process touches meanwhile.
FAULTS_BESIDE = 16
UNIT_US, ALLOCATE_US = 2, 5
COLOURS = {RAW: "#9a9a9a", DIRECT: "#1f77b4", SMALL: "#c8c8c8", DIRECT_4K: "#aec7e8",
           RAW_4K: "#b0a090", CACHE: "#d62728"}


# ---- figures ------------------------------------------------------------------------------


def _values(rounds, *keys):
    for key in keys:
        rounds = [one[key] for one in rounds]
    return rounds


def _of_neighbours(over, under):
    """The median of the ratios of runs that came one after the other."""
    return statistics.median(a / b for a, b in zip(over, under))


def _touch_times(figures, way, kind):
    return _values(figures["touch"]["rounds"][way], kind, "touch")


def _rates(figures, way):
    return _values(figures["fio"]["rounds"][way], "rate")


def _fault_ns(figures, *keys):
    found = figures["fault"]
    for key in keys:
        found = found[key]
    return found["median_ns"]


def _touch_target(figures, kind):
    mine, raw = (_touch_times(figures, way, kind) for way in (DIRECT, RAW))
    ratio = min(mine) / min(raw)
    return (f"{kind}: time, times raw", f"{ratio:.3f}", f"{_of_neighbours(mine, raw):.3f}",
            "at most 1.05", ratio <= 1.05)


def _fio_targets(figures):
    rates = {way: _rates(figures, way) for way in (RAW, SMALL, DIRECT, DIRECT_4K)}
    best = {way: max(values) for way, values in rates.items()}
    ratio = best[DIRECT] / best[RAW]
    yield ("fio: MiB/s, times raw", f"{ratio:.3f}",
           f"{_of_neighbours(rates[DIRECT], rates[RAW]):.3f}", "at least 0.97", ratio >= 0.97)
    ratio, least = best[DIRECT] / best[DIRECT_4K], best[RAW] / best[SMALL]
    yield ("fio: MiB/s, huge times 4 KiB", f"{ratio:.2f}",
           f"{_of_neighbours(rates[DIRECT], rates[DIRECT_4K]):.2f}",
           f"at least {least:.2f}, as raw", ratio >= least)


def targets(figures):
    """(what, of the best rounds, median of neighbours, target, met) of each."""
    units = figures["scale"]["touch"] // (2 * MIB)
    faults = max(max(_values(figures["touch"]["rounds"][DIRECT], kind, "faults"))
                 for kind in ("store", "memset"))
    yield ("page faults, touching all", faults, "", f"at most {units} + {FAULTS_BESIDE}",
           faults <= units + FAULTS_BESIDE)
    for kind in ("store", "memset"):
        yield _touch_target(figures, kind)
    yield from _fio_targets(figures)
    for kind in ("read", "write"):
        took = _fault_ns(figures, "unit", kind) / 1000
        yield (f"a fault of a unit that is there, to {kind}", f"{took:.2f} µs", "",
               f"under {UNIT_US} µs", took < UNIT_US)
    beside = (_fault_ns(figures, "allocate") - _fault_ns(figures, "zero")) / 1000
    yield ("a fault that allocates, beside zeroing", f"{beside:.1f} µs", "",
           f"under {ALLOCATE_US} µs", beside < ALLOCATE_US)


# ---- tables -------------------------------------------------------------------------------


def _span(values, digits=1):
    return f"{min(values):,.{digits}f}", f"{statistics.median(values):,.{digits}f}"


def _touch_rows(figures):
    for way, rounds in figures["touch"]["rounds"].items():
        row = [way, len(rounds)]
        for kind in ("store", "memset"):
            row.append(f"{max(_values(rounds, kind, 'faults')):,}")
            row += _span([1000 * value for value in _values(rounds, kind, "touch")])
        yield row


def _map_row(name, rounds, extents="", counts=None):
    counts = counts or {}
    mapped = counts.get("mapped", {})
    in_one = 4  # bench-touch maps so often
    row = [name, extents, *(counts[key] // in_one if counts else ""
                            for key in ("map_ioctls", "mmaps"))]
    row.append(counts["signals"] if counts else "")
    row.append(f"{mapped['huge'] // in_one // MIB:,} / {mapped['pages'] // in_one // MIB:,}"
               if mapped else "")
    for kind, key in (("first", "map"), ("again", "map"), ("store", "map"), ("again", "unmap"),
                      ("memset", "unmap")):
        row.append(f"{statistics.median(_values(rounds, kind, key)) * 1e6:,.0f}")
    return row


def _map_rows(figures):
    touch, scattered = figures["touch"], figures["scattered"]
    for name in (RAW, DIRECT, DIRECT_4K, CACHE):
        counts = touch["counts"].get(name)
        yield _map_row(name, touch["rounds"][name], touch["extents"] if counts else "", counts)
    yield _map_row("direct, huge, scattered", scattered["rounds"], scattered["extents"],
                   scattered["counts"])


def _fio_rows(figures):
    raw = statistics.median(_rates(figures, RAW))
    for way, rounds in figures["fio"]["rounds"].items():
        rates = _values(rounds, "rate")
        median = statistics.median(rates)
        yield [way, len(rounds), f"{max(rates):,.0f}", f"{median:,.0f}", f"{median / raw:.2f}",
               f"{statistics.median(_values(rounds, 'faults')):,.0f}"]


def _programs(figures):
    """(name, rounds by way, key) of each row."""
    for mode, rounds in figures["lmdb"].items():
        for key in ("fill", "look up", "scan"):
            yield f"LMDB, {mode}: {key}", rounds, key
    for key in ("scan", "random"):
        yield f"sqlite, mapped: {key}", figures["sqlite"]["rounds"], key


def _program_row(rounds, key):
    """Medians by way, direct over raw by neighbours, direct over the page cache."""
    values = {way: _values(of_way, key) for way, of_way in rounds.items()}
    medians = {way: statistics.median(of_way) for way, of_way in values.items()}
    return (medians, _of_neighbours(values[DIRECT], values[RAW]),
            medians[DIRECT] / medians[CACHE])


def _program_rows(figures):
    for name, rounds, key in _programs(figures):
        medians, raw, cache = _program_row(rounds, key)
        yield [name, *(f"{medians[way]:,.0f}" for way in (RAW, DIRECT, CACHE)), f"{raw:.2f}",
               f"{cache:.2f}"]


def _fault_rows(figures):
    fault = figures["fault"]
    rows = [("a unit that is there, to read", fault["unit"]["read"]),
            ("the same, to write, for the first time", fault["unit"]["write"]),
            ("the same, by one that has it for writing", fault["unit"]["again"]),
            ("a page that is there, to read", fault["page"]["read"]),
            ("the same, to write", fault["page"]["write"]),
            ("a unit that is a hole, to write", fault["allocate"]),
            ("of that: zeroing 2 MiB", fault["zero"])]
    for name, row in rows:
        yield [name, *(f"{row[key] / 1000:,.2f}" for key in ("median_ns", "mean_ns", "p99_ns")),
               f"{row['fences']:.1f}"]
    rest = fault["allocate"]["median_ns"] - fault["zero"]["median_ns"]
    yield ["the rest: journal, allocator, entry, pin", f"{rest / 1000:,.2f}", "", "", ""]


# ---- text ---------------------------------------------------------------------------------


def _introduction(figures, described):
    return [
        described + f" At the end it was {figures['load_after']:.1f}.", "",
        "Made by `tests/bench/run map`, one run, everything on memory of one machine. The ways "
        "take turns (A B C A B C ...).", "",
        f"* {RAW}: mmap of a file on tmpfs with huge=always, what the kernel can do",
        f"* {DIRECT}: a file of the mount under `daxfuse run`; the pool is a file like that",
        f"* {SMALL}: mmap of a file on tmpfs with huge=never",
        f"* {DIRECT_4K}: a file of the mount at an address that does not line up "
        "(`tests/bench/map/unaligned.c`, preloaded)",
        f"* {RAW_4K}: as {RAW}, at such an address",
        f"* {CACHE}: a file of the mount without libdaxmap, through the kernel's page cache", ""]


def _touching(figures):
    return [
        f"## Touching {figures['scale']['touch'] // MIB:,} MiB", "",
        "`tests/bench/map/touch.c`: a byte to each 4 KiB page, and, in another mapping, all of "
        "it. The file is there, and mapped already when the clock starts. Milliseconds.", "",
        tables.table(["way", "rounds", "faults: store", "best", "median", "faults: memset", "best",
                      "median"], _touch_rows(figures)),
        "## Mapping it", "",
        "One `DXF_IOC_MAP` says all pieces of a file (at most 128 in one call), one mmap() "
        "each. `signals`: faults that had to ask, in all four mappings. `huge / 4 KiB`: MiB, as "
        "libdaxmap counts. Microseconds; the first mapping of a process connects to the "
        "daemon. Unmapping includes the close of libdaxmap's own descriptor, not what the "
        "daemon does then: it writes the lines back, and who maps the file again before that is "
        "over waits for it.", "",
        tables.table(["", "extents", "ioctls", "mmaps", "signals", "huge / 4 KiB", "map: first",
                      "again", "to store", "unmap: untouched", "all stored"], _map_rows(figures))]


def _fio(figures):
    scale = figures["scale"]
    counts = figures["fio"]["counts"][DIRECT]
    return [
        "## fio", "",
        f"bs=4k size={scale['fio'] // MIB}M ioengine=mmap rw=randrw, unmodified. It maps the "
        f"whole file once: {counts['map_ioctls']} ioctl, {counts['signals']} signals under "
        "`daxfuse run`. Reads and writes together, MiB/s; the time to map is in it. Through the "
        f"page cache only {scale['fio_cached'] // MIB} MiB are moved, of which all come from the "
        "daemon.", "",
        tables.table(["way", "rounds", "best", "median", "/ raw, huge", "faults"],
                     _fio_rows(figures))]


def _programs_text(figures):
    scale = figures["scale"]
    mapped = figures["sqlite"]["counts"]["mapped"]
    return [
        "## Programs", "",
        f"LMDB (`tests/bench/map/lmdb.c`): {scale['entries']:,} entries of 200 bytes, in random "
        "order, a commit each 10,000; `sync` and `nosync` (MDB_NOSYNC) write with pwrite() and "
        "read from the mapping (each page that is written is a request to the daemon), "
        "`writemap` (MDB_WRITEMAP) and `mapasync` (and MDB_MAPASYNC) store to it. "
        f"sqlite 3, mmap_size of 2 GiB, {scale['rows']:,} rows; "
        f"{(mapped['huge'] + mapped['pages']) // MIB:,} MiB were mapped directly, "
        f"{mapped['huge'] // MIB:,} of them huge. Entries and rows a second, medians; more is "
        "better. `/ raw` is the median of the ratios of neighbouring runs.", "",
        tables.table(["", RAW, DIRECT, CACHE, "direct / raw", "direct / page cache"],
                     _program_rows(figures))]


def report(figures, described):
    """The text of docs/bench/map.md."""
    verdicts = [[*row, "met" if met else "missed"] for *row, met in targets(figures)]
    return "\n".join([
        "# Direct mappings", "", *_introduction(figures, described),
        "![direct mappings beside the kernel's own](map.png)", "",
        "## Targets", "",
        "The best rounds count, as what else runs on the machine only ever makes a program "
        "slower; the median of the ratios of neighbouring runs is beside them.", "",
        tables.table(["", "best rounds", "neighbours", "target", ""], verdicts),
        *_touching(figures), *_fio(figures), *_programs_text(figures),
        "## A fault, in the daemon", "",
        "`tests/bench/map/fault.c`: map_fault() on a real pool, without FUSE and the program's "
        "part. Microseconds.", "",
        tables.table(["", "median", "mean", "p99", "fences"], _fault_rows(figures))])


# ---- plot ---------------------------------------------------------------------------------


def _bars(axes, values, title):
    axes.barh(list(values), list(values.values()), color=[COLOURS[way] for way in values])
    axes.invert_yaxis()
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=8)
    for y, value in enumerate(values.values()):
        axes.text(value, y, f" {tables.number(value)}", va="center", fontsize=7)
    axes.margins(x=0.15)


def _plot_programs(axes, figures):
    names, ratios = [], {RAW: [], DIRECT: [], CACHE: []}
    for name, rounds, key in _programs(figures):
        medians, raw, _ = _program_row(rounds, key)
        names.append(name)
        ratios[RAW].append(1)
        ratios[DIRECT].append(raw)
        ratios[CACHE].append(medians[CACHE] / medians[RAW])
    for shift, way in enumerate((DIRECT, CACHE)):
        axes.barh([y + 0.4 * shift for y in range(len(names))], ratios[way], 0.4,
                  color=COLOURS[way], label=way)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks([y + 0.2 for y in range(len(names))], names, fontsize=8)
    axes.invert_yaxis()
    axes.set_title("programs: times raw, huge (more is better)", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8)


def plot(folder, figures):
    """docs/bench/map.png: the ways side by side."""
    figure, axes = tables.pyplot.subplots(2, 2, figsize=(11, 7.5))
    ways = figures["touch"]["rounds"]
    for place, kind in zip(axes[0], ("store", "memset")):
        _bars(place, {way: 1000 * statistics.median(_touch_times(figures, way, kind))
                      for way in ways},
              f"{kind} {figures['scale']['touch'] // MIB} MiB: ms (less is better)")
        place.set_xscale("log")
    _bars(axes[1][0], {way: statistics.median(_rates(figures, way)) for way in ways},
          "fio, mmap, 4 KiB randrw: MiB/s (more is better)")
    _plot_programs(axes[1][1], figures)
    tables.save_plot(folder, "map", figure)
