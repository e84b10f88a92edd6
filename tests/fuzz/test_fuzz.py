# SPDX-License-Identifier: BSD-3-Clause
"""The fuzzer for half a minute, from a fixed start, and over what it once found.

For longer: build/asan/tests/fuzz/fuzz-pool -max_total_time=600 FOLDER
"""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FUZZER = ROOT / "build/asan/tests/fuzz/fuzz-pool"
FOUND = sorted((Path(__file__).parent / "found").iterdir())


def run(*arguments, fuzzer=FUZZER):
    done = subprocess.run([fuzzer, "-timeout=20", *map(str, arguments)], capture_output=True,
                          text=True, errors="replace", timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_what_was_found(path):
    run(path)


def test_fuzz(tmp_path):
    run("-max_total_time=25", "-max_len=300", "-len_control=0", "-seed=1",
        f"-artifact_prefix={tmp_path}/", tmp_path)


def test_fuzz_a_guest(tmp_path):
    """Requests of a guest, and its queue."""
    run("-max_total_time=25", "-max_len=4000", "-len_control=0", "-seed=1",
        f"-artifact_prefix={tmp_path}/", tmp_path, fuzzer=FUZZER.with_name("fuzz-guest"))
