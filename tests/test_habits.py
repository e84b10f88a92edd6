# SPDX-License-Identifier: BSD-3-Clause
"""Habits of the house that a machine can see."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "daxfuse").glob("**/*.c"))

SPDX = "/* SPDX-License-Identifier: BSD-3-Clause */\n"
# What a reader finds before anything else: one comment, of one sentence at least.
HEAD = re.compile(re.escape(SPDX) + r"/\*\s(?:\* |)?(?P<text>.*?)\*/\n", re.S)


def words_of(text):
    return re.sub(r"\n ?\*", " ", text).split()


def test_there_are_files():
    assert len(FILES) > 100


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_begins_with_what_it_does(path):
    head = HEAD.match((ROOT / path).read_text())
    assert head, "no comment behind the line with the licence"
    assert len(words_of(head["text"])) >= 5, "that is no sentence"
