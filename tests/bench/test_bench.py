# SPDX-License-Identifier: BSD-3-Clause
"""The benches run, with tiny sizes; what they measure is not looked at, but for what realigning does."""

import json
import os
import pathlib
import subprocess

import pytest

UNIT = 2 << 20
MAPPINGS = 4  # of a run of bench-touch
HERE = pathlib.Path(__file__).resolve().parent


mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems")


def run_quickly(bench, bin_dir, tmp_path):
    """The figures of a bench that ran, and has written a report."""
    subprocess.run([HERE / "run", bench, "--quick", "--build", bin_dir.parent,
                    "--output", tmp_path], check=True, timeout=600)
    figures = json.loads((tmp_path / f"{bench}.json").read_text())
    assert figures
    text = (tmp_path / f"{bench}.md").read_text()
    assert "nan" not in text
    assert text.count("\n|") > 4
    return figures


@mounts
@pytest.mark.parametrize("bench", ["core", "aging", "mount", "defaults", "guests"])
def test_bench_runs(bench, bin_dir, tmp_path):
    run_quickly(bench, bin_dir, tmp_path)


@mounts
def test_map_counts(bin_dir, tmp_path):
    """Faults, calls and pages are what they must be, however long they take."""
    figures = run_quickly("map", bin_dir, tmp_path)
    size, touch = figures["scale"]["touch"], figures["touch"]
    for kind in ("store", "memset"):
        taken = {way: max(one[kind]["faults"] for one in rounds)
                 for way, rounds in touch["rounds"].items()}
        assert size // UNIT <= taken["direct, huge"] <= size // UNIT + 16
        assert taken["direct, 4 KiB"] >= size // 4096
    for way, kind in (("direct, huge", "huge"), ("direct, 4 KiB", "pages")):
        counts = touch["counts"][way]
        assert counts["mapped"][kind] == MAPPINGS * size == sum(counts["mapped"].values())
        assert counts["map_ioctls"] == MAPPINGS and counts["signals"] == 0
    assert figures["scattered"]["extents"] > size // UNIT // 8
    assert figures["scattered"]["counts"]["mapped"]["huge"] == MAPPINGS * size
    fio = figures["fio"]
    assert fio["counts"]["direct, huge"]["map_ioctls"] == 1
    assert fio["counts"]["direct, huge"]["signals"] == 0
    assert (min(one["faults"] for one in fio["rounds"]["direct, 4 KiB"]) >
            max(one["faults"] for one in fio["rounds"]["direct, huge"]) + size // 4096 // 16)
    assert figures["fault"]["unit"]["read"]["fences"] == 0
    assert figures["fault"]["allocate"]["fences"] < 8


def test_bench_refuses_unknown(tmp_path):
    result = subprocess.run([HERE / "run", "speed"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "no such bench: speed" in result.stderr


def test_realign_takes_what_is_free(bin_dir):
    """All large files are whole afterwards, or there is no unit left."""
    done = subprocess.run([bin_dir.parent / "bench/bench-aging", "--size", str(256 << 20),
                           "--rounds", "1"], check=True, capture_output=True, text=True, timeout=300)
    rows = json.loads(done.stdout)["crowd"]
    for row in rows:
        after = row["realign"]["after"]
        assert after["units_whole"] == after["units"] or after["free_units"] == 0
    before = [row["realign"]["before"] for row in rows]
    assert before[0]["free_units"] == 0 and before[0]["units_whole"] < before[0]["units"]
    assert sum(row["realign"]["gathered"] for row in rows) > 0
