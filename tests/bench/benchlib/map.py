# SPDX-License-Identifier: BSD-3-Clause
"""Direct mappings beside the kernel's own: touching, fio, LMDB, sqlite, and a single fault."""

import contextlib
import json
import os
import re
import shutil

from . import machine, map_report
from .map_ways import (CACHE, DIRECT, DIRECT_4K, MIB, RAW, RAW_4K, SMALL, all_ways, fill,
                       forget_pages)

LMDB_MODES = ("sync", "nosync", "writemap", "mapasync")
TOUCHES = ("first", "again", "store", "memset")
COLUMNS = 200  # bytes of a row in sqlite


class Scale:
    """How much each part does."""

    def __init__(self, quick):
        self.touch = (64 if quick else 1024) * MIB
        self.fio = (64 if quick else 2048) * MIB
        self.fio_cached = (4 if quick else 256) * MIB  # through the page cache
        self.entries = 5000 if quick else 200000       # of LMDB
        self.rows = 5000 if quick else 400000          # of sqlite
        self.units = 32 if quick else 512              # of each file of bench-fault
        self.pool = (320 if quick else 5120) * MIB
        # rounds, each of which goes through all ways; and those of the two that are set
        # beside each other where that is a matter of percents
        self.rounds = 1 if quick else 4
        self.pairs = 2 if quick else 15


def _rounds(ways, one, rounds, pairs=0):
    """one(way) in turns: A B C A B C ...; its results by the way's name. The page cache has
    one: it is far behind."""
    results = {name: [] for name in ways}
    for number in range(max(rounds, pairs)):
        for name, way in ways.items():
            most = {RAW: pairs or rounds, DIRECT: pairs or rounds, CACHE: 1}.get(name, rounds)
            if number < most:
                results[name].append(one(way))
    return results


def _with_files(ways, name, size, one):
    """one() while each way's folder has a file of that size."""
    for folder in {way.folder for way in ways.values()}:
        fill(folder / name, size)
    try:
        return one()
    finally:
        for folder in {way.folder for way in ways.values()}:
            (folder / name).unlink()


# ---- touching ----------------------------------------------------------------------------


def _touch(build, ways, scale):
    """bench-touch in every way, and what of it can be counted."""
    def once(way):
        path = way.folder / "touched"
        if way.name == CACHE:
            forget_pages(path)
        return json.loads(way.run(build / "bench/bench-touch", path))

    def all_of_it():
        rounds = _rounds(ways, once, scale.rounds, scale.pairs)
        forget_pages(ways[CACHE].folder / "touched")
        counts = {name: way.inspect(build / "bench/bench-touch", way.folder / "touched")
                  for name, way in ways.items() if way.is_direct()}
        return {"rounds": rounds, "counts": counts,
                "extents": _extents(build, ways[DIRECT].folder / "touched")}

    return _with_files(ways, "touched", scale.touch, all_of_it)


def _extents(build, path):
    return len(json.loads(machine.command(build / "bin/daxfuse", "map", path))["extents"])


def _fill_pool(folder, size):
    """Files of a unit each until there is no more room."""
    paths = []
    with contextlib.suppress(OSError):
        while True:
            paths.append(folder / str(len(paths)))
            with open(paths[-1], "wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)
    return paths


def _scattered(build, way, scale):
    """Mapping a file whose units lie apart: what was free when it was written."""
    folder, path, unit = way.folder / "ballast", way.folder / "scattered", 2 * MIB
    folder.mkdir()
    for ballast in _fill_pool(folder, unit)[:2 * (scale.touch // unit + 4):2]:
        ballast.unlink()
    fill(path, scale.touch)
    shutil.rmtree(folder)
    words = [build / "bench/bench-touch", path]
    rounds = [json.loads(way.run(*words)) for _ in range(scale.rounds)]
    figures = {"rounds": rounds, "counts": way.inspect(*words), "extents": _extents(build, path)}
    path.unlink()
    return figures


# ---- fio ---------------------------------------------------------------------------------


def _fio_words(path, scale, size):
    return ["fio", "--name=seed", f"--filename={path}", "--bs=4k", f"--size={scale.fio}",
            "--ioengine=mmap", "--rw=randrw", f"--io_size={size}", "--randrepeat=1",
            "--output-format=json"]


def _fio(ways, scale):
    """The seed's job in every way: MiB/s, read and written together."""
    def once(way):
        path = way.folder / "fio"
        cached = way.name == CACHE
        if cached:
            forget_pages(path)
        text = way.run(*_fio_words(path, scale, scale.fio_cached if cached else scale.fio))
        job = json.loads(text[text.index("{"):])["jobs"][0]
        if cached:
            forget_pages(path)
        return {"rate": (job["read"]["bw_bytes"] + job["write"]["bw_bytes"]) / MIB,
                "faults": job["minf"]}

    def all_of_it():
        return {"rounds": _rounds(ways, once, scale.rounds, scale.pairs),
                "counts": {name: way.inspect(*_fio_words(way.folder / "fio", scale, scale.fio))
                           for name, way in ways.items() if way.is_direct()}}

    return _with_files(ways, "fio", scale.fio, all_of_it)


# ---- programs ----------------------------------------------------------------------------


def _lmdb(build, ways, scale):
    """Fill, look up, scan: entries a second, by mode and way."""
    def once(way, mode):
        folder = way.folder / "lmdb"
        folder.mkdir()
        try:
            return json.loads(way.run(build / "bench/bench-lmdb", folder / "base", mode,
                                      scale.entries))
        finally:
            shutil.rmtree(folder)

    return {mode: _rounds(ways, lambda way, mode=mode: once(way, mode), scale.rounds)
            for mode in LMDB_MODES}


SQL_FILL = """
create table t (a integer primary key, b blob);
with recursive n (i) as (select 1 union all select i + 1 from n where i < {rows})
    insert into t select i, randomblob({columns}) from n;
"""
# A row's bytes are looked at: hex() needs them all.
SQL_READ = """
pragma mmap_size = 2147418112;
select count(*) from (select a from t limit 1);
.timer on
select sum(length(hex(b))) from t;
with recursive n (i, x) as (select 1, 1 union all
    select i + 1, (x * 1103515245 + 12345) % 2147483648 from n where i < {rows})
    select sum(length(hex(b))) from n join t on t.a = x / 8 % {rows} + 1;
"""


def _sqlite(ways, scale):
    """Rows a second of a scan and of random reads, with the base mapped (mmap_size)."""
    source = ways[RAW].folder / "sqlite"
    machine.command("sqlite3", source, SQL_FILL.format(rows=scale.rows, columns=COLUMNS))
    paths = {way.folder / "sqlite" for way in ways.values()}
    for path in paths - {source}:
        shutil.copyfile(source, path)
    script = SQL_READ.format(rows=scale.rows)

    def once(way):
        text = way.run("sqlite3", "-readonly", "-batch", way.folder / "sqlite", script)
        scan, random = (float(value) for value in re.findall(r"Run Time: real (\S+)", text))
        return {"scan": scale.rows / scan, "random": scale.rows / random}

    # a .timer is no statement: the shell takes it from a file only
    path = ways[RAW].folder / "script"
    path.write_text(script)
    script = f".read {path}"
    figures = _rounds(ways, once, scale.rounds)
    counts = ways[DIRECT].inspect("sqlite3", "-readonly", "-batch", ways[DIRECT].folder / "sqlite",
                                  script)
    for place in (*paths, path):
        place.unlink()
    return {"rounds": figures, "counts": counts}


# ---- all -----------------------------------------------------------------------------------


def _fault(build, memory, scale):
    """bench-fault: the daemon's part alone."""
    image = memory / "fault.pool"
    text = machine.command(build / "bench/bench-fault", "--pool", image, "--units", scale.units)
    machine.drop(image)
    return json.loads(text)


def measure(build, memory, quick, _files):
    """All parts, one after the other."""
    if not (build / "bench/bench-lmdb").exists():
        raise RuntimeError("bench-lmdb is not built: run contrib/install-dependencies, then cmake")
    scale = Scale(quick)
    figures = {"scale": vars(scale), "load_before": os.getloadavg()[0]}
    with all_ways(build, memory, scale.pool) as ways:
        figures["touch"] = _touch(build, ways, scale)
        figures["scattered"] = _scattered(build, ways[DIRECT], scale)
        figures["fio"] = _fio(ways, scale)
        programs = {name: ways[name] for name in (RAW, DIRECT, CACHE)}
        figures["lmdb"] = _lmdb(build, programs, scale)
        figures["sqlite"] = _sqlite(programs, scale)
    figures["fault"] = _fault(build, memory, scale)
    figures["load_after"] = os.getloadavg()[0]
    return figures


report = map_report.report
plot = map_report.plot
