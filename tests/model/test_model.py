# SPDX-License-Identifier: BSD-3-Clause
"""The models of the mapping engine, checked exhaustively by spin; and that they can fail.

Each configuration is a set of definitions: who maps, how many faults, what changes the file
beneath. Each mutant leaves out one thing that the engine does, and must be found.
"""

import re
import subprocess
from pathlib import Path

import pytest

MODELS = Path(__file__).parent

SOUND = {
    "wait": [],
    "two-faults": ["FAULTS0=2", "STORES=0"],
    "fsync": ["FSYNC=1"],
    "fsync-two-faults": ["FSYNC=1", "FAULTS0=2", "FAULTS1=0"],
    "fsync-careful": ["FSYNC=1", "KIND0=CAREFUL"],
    "punch": ["PUNCH=1"],
    "punch-promote": ["PUNCH=1", "PROMOTE=1", "STORES=0"],
    "punch-fsync": ["PUNCH=1", "FSYNC=1"],
    "punch-deaths": ["PUNCH=1", "DEATHS"],
    "punch-two-clients": ["PUNCH=1", "KIND1=CLIENT", "STORES=0"],
    "punch-guest": ["PUNCH=1", "KIND0=GUEST", "FSYNC=1"],
    "promote": ["PROMOTE=1"],
    "promote-two-faults": ["PROMOTE=1", "FAULTS0=2", "FAULTS1=0"],
    "promote-guest": ["PROMOTE=1", "KIND0=GUEST", "KIND1=CLIENT"],
}

ASLEEP = "invalid end state"
ZEROES = "assertion violated.*mapped"
TAG = "assertion violated.*line"
# mutant: (model, what is wrong, where)
MUTANTS = {
    "LOOK_FIRST": ("wait", ASLEEP, []),
    "COUNT_FIRST": ("wait", ASLEEP, []),
    "NOT_PASSED_ON": ("wait", ASLEEP, []),
    "MUTANT_WAKE_ONE": ("mapping", ASLEEP, ["PROMOTE=1", "FAULTS0=2", "STORES=0"]),
    "MUTANT_NOT_PASSED_ON": ("mapping", ASLEEP, ["FSYNC=1"]),
    "MUTANT_NO_EMPTY": ("mapping", ZEROES, []),
    "MUTANT_KEEP_ZEROES": ("mapping", ZEROES, []),
    "MUTANT_NOTHING_IS_VOID": ("mapping", "assertion violated", ["PUNCH=1"]),
    "MUTANT_NO_QUARANTINE": ("mapping", "assertion violated.*state.mapped", ["PUNCH=1"]),
    "MUTANT_COPY_FIRST": ("mapping", "assertion violated.*content", ["PROMOTE=1"]),
    "MUTANT_CLEAR_FIRST": ("mapping", TAG, ["FSYNC=1"]),
    "MUTANT_FLUSH_FIRST": ("mapping", TAG, ["FSYNC=1"]),
    "MUTANT_PROTECT_WHAT_IS_MAPPED": ("mapping", TAG,
                                      ["FSYNC=1", "KIND0=CAREFUL", "FAULTS1=0"]),
    "MUTANT_FORGET_WRITABLE": ("mapping", TAG, ["FSYNC=1", "FAULTS0=2", "FAULTS1=0"]),
}


def check(model, definitions, folder):
    """Let spin try every interleaving; returns what it says."""
    subprocess.run(["spin", *(f"-D{name}" for name in definitions), "-a", MODELS / f"{model}.pml"],
                   cwd=folder, check=True)
    subprocess.run(["gcc", "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=4000", "pan.c",
                    "-o", "pan"], cwd=folder, check=True)
    done = subprocess.run(["./pan", "-m200000"], cwd=folder, check=True, capture_output=True,
                          text=True)
    # all of it was searched
    assert "max search depth too small" not in done.stdout
    return done.stdout


@pytest.mark.parametrize("name", SOUND)
def test_sound(name, tmp_path):
    out = check("wait" if name == "wait" else "mapping", SOUND[name], tmp_path)
    assert re.search(r"errors: 0\b", out), out
    assert "Search not completed" not in out


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_found(name, tmp_path):
    model, wrong, definitions = MUTANTS[name]
    out = check(model, [name, *definitions], tmp_path)
    assert re.search(r"errors: 1\b", out), out
    assert re.search(f"pan:1: .*{wrong}", out), out
