# SPDX-License-Identifier: BSD-3-Clause
"""The benches run, with tiny sizes; what they measure is not looked at."""

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
