# SPDX-License-Identifier: BSD-3-Clause
"""The judge of the crash tests, judged: what it must accept and what it must find."""

import pytest

import load

DONE = 80


@pytest.mark.parametrize("kind", load.WRITERS)
def test_verdicts(kind, tmp_path):
    writer = kind(str(tmp_path), 1)
    writer.prepare()
    for number in range(DONE):
        writer.run(number)
    assert load.check(writer, DONE - 1, 0) == []
    # Acknowledgements that were lost on the way.
    assert load.check(writer, DONE - 3, 0)
    assert load.check(writer, DONE - 3, 16) == []
    assert load.check(writer, DONE - 5, 2)
    # More was acknowledged than is there: no lag excuses that.
    assert load.check(writer, DONE + 2, 16)
