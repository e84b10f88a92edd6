# SPDX-License-Identifier: BSD-3-Clause
"""libdaxmap's folders: each sees those below it, and nothing of the daemon's; and no file calls
another one that calls it back, by whatever way."""

import json
import re
import shlex
import subprocess
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOM = ROOT / "daxfuse" / "daxmap"
FOLDERS = ["session", "regions", "faults", "calls"]  # lowest first


@pytest.fixture(scope="module")
def commands(bin_dir):
    found = json.loads((bin_dir.parent / "compile_commands.json").read_text())
    return [command for command in found if ROOM in Path(command["file"]).parents]


def found_from(folder, commands):
    """Headers of the whole tree that the compiler finds from there."""
    headers = [str(path.relative_to(ROOT)) for path in (ROOT / "daxfuse").glob("**/*.h")]
    text = "".join(f'#if __has_include("{name}")\nFOUND {name}\n#endif\n' for name in headers)
    command = next(c for c in commands if f"daxmap_{folder}.dir" in c["command"])
    words = shlex.split(command["command"])
    flags = [word for word in words if word.startswith("-I")]
    out = subprocess.run([words[0], *flags, "-E", "-P", "-xc", "-"], input=text, check=True,
                         capture_output=True, text=True, cwd="/").stdout
    return set(re.findall(r"FOUND (\S+)", out))


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_sees_what_is_below(folder, commands):
    found = found_from(folder, commands)
    rooms = {name.split("/")[1] for name in found}
    below = {name.split("/")[2] for name in found if name.startswith("daxfuse/daxmap/")}
    assert rooms == {"base", "daxmap"}
    assert {name for name in below if not name.endswith(".h")} == \
        set(FOLDERS[:FOLDERS.index(folder)])


def test_no_circle_of_calls(commands):
    defines, needs = {}, {}
    for command in commands:
        object_file = Path(command["directory"]) / command.get("output", re.search(
            r"-o (\S+)", command["command"])[1])
        if "daxmap-preload.dir" in str(object_file):
            continue
        name = str(Path(command["file"]).relative_to(ROOM))
        out = subprocess.run(["nm", object_file], capture_output=True, text=True, check=True).stdout
        for kind, symbol in re.findall(r"^\S* +(\w) (\S+)$", out, re.M):
            if kind in "TDBR":
                defines[symbol] = name
            elif kind == "U":
                needs.setdefault(name, set()).add(symbol)
    graph = {name: {defines[s] for s in symbols if defines.get(s, name) != name}
             for name, symbols in needs.items()}
    assert len(graph) > 20
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError
