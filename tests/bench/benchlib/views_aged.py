# SPDX-License-Identifier: BSD-3-Clause
"""Faults of mappings on filesystems that have seen much."""

import json

from . import tables
from .views_ways import EXT4, MOUNT, UNMOUNT, VIEW, XFS

WAYS = (VIEW, EXT4, XFS)
NEW = ("written", "fallocated")
SEED = 1
# What was removed is free then.
SETTLE = "sync; sleep 1; sync"
UNITS_PER_GIB = 512


class Scale:
    """MiB: of the NVDIMM, of files, and of what is written in all; new files, and MiB of each."""

    def __init__(self, quick):
        self.nvdimm, self.files, self.written = (320, 160, 200) if quick else (1024, 640, 3072)
        self.new, self.each = (1, 16) if quick else (4, 32)


def _used(guest):
    return int(guest.run("df --block-size=1M --output=used /mnt | tail -n 1"))


def _touched(guest, how, files):
    return json.loads(guest.run(f"bench-faults {how} {files}"))


def _new(guest, kind, scale):
    """In what is free, and removed again."""
    guest.run(f"cd /mnt/new; bench-faults {kind} {scale.each} $(seq {scale.new})")
    touched = {how: _touched(guest, how, "/mnt/new/*") for how in ("store", "load")}
    guest.run("rm /mnt/new/*; " + SETTLE)
    return touched


def measure(guest, way, scale):
    """A filesystem that is made, aged and looked at."""
    guest.run(MOUNT[way] + "; mkdir /mnt/new")
    if way == XFS:
        guest.run("xfs_io -c 'extsize 0' /mnt")  # but /mnt/new has the hint
    empty = _used(guest)
    churn = json.loads(guest.run(f"bench-age /mnt/aged {scale.files} {scale.written} {SEED}"))
    guest.run(SETTLE)
    aged = {"churn": churn, "used": _used(guest) - empty,
            **{kind: _new(guest, kind, scale) for kind in NEW},
            "old": _touched(guest, "load", "/mnt/aged/*")}
    if way == VIEW:
        aged["realign"] = json.loads(guest.run("daxfuse realign /mnt/aged"))
        aged["realigned"] = _touched(guest, "load", "/mnt/aged/*")
    guest.run(UNMOUNT[way])
    return aged


# ---- report -----------------------------------------------------------------------------------


def _cells(touched):
    per_gib = touched["faults"] / touched["units"] * UNITS_PER_GIB
    return tables.number(per_gib), f"{touched['huge']} of {touched['units']}"


def _new_files(aged):
    return tables.table(["", *(f"{kind}: {what}" for kind in NEW
                               for what in ("stores", "huge", "loads", "huge"))],
                        [[way, *(cell for kind in NEW for how in ("store", "load")
                                 for cell in _cells(one[kind][how]))] for way, one in aged.items()])


def _old_files(aged):
    rows = []
    for way, one in aged.items():
        rows.append([way, f"{one['used']:,}", *_cells(one["old"])])
        if "realigned" in one:
            rows.append([f"{way}, realigned", "", *_cells(one["realigned"])])
    return tables.table(["", "MiB in use", "old files: loads", "huge"], rows)


def report(aged, scale):
    """The section of docs/bench/views.md."""
    churn, realign = aged[VIEW]["churn"], aged[VIEW]["realign"]
    refused = {way: one["churn"]["refused"] for way, one in aged.items() if one["churn"]["refused"]}
    return f"""On an NVDIMM of {scale['nvdimm']:,} MiB each filesystem is filled with {scale['files']} MiB of files, and kept so full until
{scale['written']:,} MiB are written (`tests/bench/views/age.c`; the same calls for all): {churn['created']:,} files are made, of sizes as in
[ageing](aging.md), and grow four at the same time; {churn['appended']:,} appends, {churn['cut']:,} files cut short, {churn['removed']:,} removed.
{f"Calls that failed for want of space: {refused}." if refused else "No call failed for want of space."} Then {scale['new']} files of {scale['each']} MiB are made in what is free, written or
fallocated. Every page of a new mapping is stored to, and then every one of another is loaded. Faults for each GiB: 512 if all
of it is mapped 2 MiB at a time, 262,144 if nothing is; and how many units of 2 MiB took one fault. xfs has its hint
(extsize 2m) for these files only: with it, each small file would take 2 MiB, and the pool be full.

{_new_files(aged)}
What the churn has left, and those of its files that have 2 MiB and more, as far as they fill units. daxfuse needs more space for
the same files, as their ends may hold whole units ([why](../design/allocator.md#trimming-at-the-last-close-into-holes)). `daxfuse realign` of
them gathered {realign['gathered'] >> 20} MiB, and left {realign['left'] >> 20}.

{_old_files(aged)}"""
