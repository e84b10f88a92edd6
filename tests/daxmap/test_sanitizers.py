# SPDX-License-Identifier: BSD-3-Clause
"""Programs built with a sanitizer, whose runtime takes functions and signals, too."""

import subprocess
from pathlib import Path

import pytest

from daxmap.test_program import ALONE

HERE = Path(__file__).resolve().parent
OVERFLOW = r"""
#include <stdlib.h>

int main(int argc, char **argv)
{
    volatile char *memory = malloc(10);

    memory[9 + argc] = 1;
    return 0;
}
"""


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    """build(sanitizer) -> program.c with its shared runtime."""
    folder, built = tmp_path_factory.mktemp("sanitized"), {}

    def build(name):
        if name not in built:
            done = subprocess.run(["gcc", "-O1", "-g", "-pthread", f"-fsanitize={name}", "-o",
                                   folder / name, HERE / "program.c"], capture_output=True)
            built[name] = done.returncode == 0
        if not built[name]:
            pytest.skip(f"needs gcc and its runtime for {name}")
        return folder / name

    return build


@pytest.mark.parametrize("scenario", [name for name in ALONE if name != "masks"])
@pytest.mark.parametrize("sanitizer", ["address", "undefined"])
def test_scenario(sanitizer, scenario, build, run, file):
    """The runtime's handlers and ours, forks, and mappings that are taken apart. ("masks" looks at
    what handler it had, and that is the runtime's.)"""
    done = run(build(sanitizer), scenario, file).check()
    assert (scenario == "private_mapping") == (not done.mappings), done.mappings
    assert "Sanitizer" not in done.err


@pytest.mark.parametrize("scenario", ["simple", "end_of_file", "holes", "protection", "remaps"])
def test_thread_sanitizer(scenario, build, run, file):
    """Without forks: it ends children that start a thread, as ours do."""
    done = run(build("thread"), scenario, file).check()
    assert done.mappings
    assert "Sanitizer" not in done.err


def test_it_still_looks(bin_dir, run, tmp_path):
    """What AddressSanitizer is for; and options of the user's own stay."""
    (tmp_path / "overflow.c").write_text(OVERFLOW)
    done = subprocess.run(["gcc", "-fsanitize=address", "-g", "-o", tmp_path / "overflow",
                           tmp_path / "overflow.c"], capture_output=True)
    if done.returncode:
        pytest.skip("needs gcc and its runtime")
    done = run(tmp_path / "overflow")
    assert done.code == 1 and "heap-buffer-overflow" in done.err
    done = run("sh", "-c", f"ASAN_OPTIONS=exitcode=7:$ASAN_OPTIONS {tmp_path}/overflow")
    assert done.code == 7, "children, too"


def test_options_of_the_user(run, monkeypatch):
    monkeypatch.setenv("ASAN_OPTIONS", "exitcode=3")
    assert run("sh", "-c", "echo $ASAN_OPTIONS").out == "exitcode=3:verify_asan_link_order=0\n"
    monkeypatch.setenv("ASAN_OPTIONS", "verify_asan_link_order=1")
    assert run("sh", "-c", "echo $ASAN_OPTIONS").out == "verify_asan_link_order=1\n"
