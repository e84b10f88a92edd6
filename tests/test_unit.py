# SPDX-License-Identifier: BSD-3-Clause
"""Runs each C unit test, plain and under sanitizers, as a test of its own."""

import json
import os
import subprocess
from pathlib import Path

import pytest

BUILD = Path(__file__).resolve().parents[1] / "build"
QUICK = "DAXFUSE_QUICK" in os.environ


def unit_tests(preset):
    out = subprocess.run(["ctest", "--test-dir", BUILD / preset, "--show-only=json-v1"],
                         check=True, capture_output=True, text=True).stdout
    for test in json.loads(out)["tests"]:
        yield test["name"], test["command"]


def cases():
    for preset in ("dev",) if QUICK else ("dev", "asan", "tsan"):
        for name, command in unit_tests(preset):
            if preset != "tsan" or name.endswith("_threads"):
                yield pytest.param(command, id=f"{preset}-{name}")


@pytest.mark.parametrize("command", cases())
def test_unit(command, tmp_path):
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(QUICK, reason="takes a minute")
def test_a_minute_of_mapping_under_tsan(tmp_path):
    """Random faults, writes, truncations, punches, promotions and dying mappers against a flat
    reference; docs/design/mapping.md."""
    stress = dict(unit_tests("tsan"))["map/stress_threads"]
    done = subprocess.run([*stress, "60"], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
