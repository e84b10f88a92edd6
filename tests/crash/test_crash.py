# SPDX-License-Identifier: BSD-3-Clause
"""All crash states of every operation, judged; and whether the judge sees anything.

DAXFUSE_CRASH=full also runs what takes minutes: all pairs of the 56 operations, one after the
other and at the same time, and every operation under sanitizers.
"""

import json
import os
import random
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FULL = os.environ.get("DAXFUSE_CRASH") == "full"
full_only = pytest.mark.skipif(not FULL, reason="minutes long: DAXFUSE_CRASH=full")


def crash(*args, preset=None, timeout=3600):
    """The summary of a run, which must not have failed by itself."""
    preset = preset or os.environ.get("DAXFUSE_PRESET", "dev")
    program = ROOT / "build" / preset / "tests" / "crash" / "crash"
    done = subprocess.run([program, *map(str, args)], capture_output=True, text=True,
                          timeout=timeout)
    assert done.stdout.startswith("{"), done.stderr[-4000:]
    summary = json.loads(done.stdout)
    summary["stderr"] = done.stderr
    return summary


def assert_clean(summary, workloads, states):
    found = [line for line in summary["stderr"].splitlines()
             if line.startswith("violation") or "Sanitizer" in line or "runtime error" in line]
    assert not found, "\n".join(found[:20])
    assert summary["violations"] == 0, summary["messages"]
    assert summary["error"] == 0
    assert summary["workloads"] >= workloads
    assert summary["states"] >= states


def test_every_operation():
    """Each operation alone, also on pools that are nearly full, recovery crashed again."""
    summary = crash("single")
    assert_clean(summary, workloads=450, states=300_000)
    assert summary["recovery_states"] >= 50_000


def test_some_pairs():
    seed = random.SystemRandom().randrange(1 << 30)
    print("seed", seed)
    assert_clean(crash("pairs", "--sample", 400, "--seed", seed), workloads=400, states=100_000)


def test_some_operations_at_the_same_time():
    """Of any two, one is held before each of its fences while the other runs."""
    seed = random.SystemRandom().randrange(1 << 30)
    print("seed", seed)
    summary = crash("threads", "--sample", 300, "--seed", seed)
    assert_clean(summary, workloads=300, states=100_000)
    assert summary["overlaps"] >= 1


def test_some_operations_under_sanitizers():
    seed = random.SystemRandom().randrange(1 << 30)
    print("seed", seed)
    assert_clean(crash("single", "--no-tight", "--sample", 12, "--seed", seed, preset="asan"),
                 workloads=12, states=500)


def test_mutants_are_caught():
    """Each flush and fence is left out or delayed in turn: at least 95 % of that must show.

    A non-temporal store that may as well stay in the cache is padding that nobody reads: there
    are a few.
    """
    summary = crash("mutants")
    dead = [mutant["what"] for mutant in summary["dead"]]
    alive = [mutant for mutant in summary["survivors"] if "non-temporal" not in mutant["what"]]
    flushes = sum("non-temporal" not in what for what in dead)
    assert flushes >= 12, summary
    assert flushes >= 0.95 * (flushes + len(alive)), alive
    assert summary["caught"] >= 0.9 * summary["mutants"], summary["survivors"]


def fence_table():
    """operation -> fences, from docs/design/fences.md."""
    table = {}
    for line in (ROOT / "docs/design/fences.md").read_text().splitlines():
        row = re.match(r"\| (.+?) +\| +(\d+) \|$", line)
        if row:
            table[row[1]] = int(row[2])
    return table


def test_fence_table():
    counted = crash("fences")
    del counted["stderr"]
    assert fence_table() == counted


@full_only
def test_all_pairs():
    assert_clean(crash("pairs"), workloads=3136, states=1_000_000)


@full_only
def test_all_operations_at_the_same_time():
    summary = crash("threads")
    assert_clean(summary, workloads=9000, states=3_000_000)
    assert summary["overlaps"] >= 100


@full_only
def test_every_operation_under_sanitizers():
    assert_clean(crash("single", preset="asan"), workloads=450, states=300_000)
