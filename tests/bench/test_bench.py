# SPDX-License-Identifier: BSD-3-Clause
"""The benches run, with tiny sizes; what they measure is not looked at, but for what realigning does."""

import json
import os
import pathlib
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems")
@pytest.mark.parametrize("bench", ["core", "aging", "mount"])
def test_bench_runs(bench, bin_dir, tmp_path):
    subprocess.run([HERE / "run", bench, "--quick", "--build", bin_dir.parent,
                    "--output", tmp_path], check=True, timeout=600)
    figures = json.loads((tmp_path / f"{bench}.json").read_text())
    assert figures
    text = (tmp_path / f"{bench}.md").read_text()
    assert "nan" not in text
    assert text.count("\n|") > 4


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
