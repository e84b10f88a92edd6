# SPDX-License-Identifier: BSD-3-Clause
"""A wrong include does not compile: what the compiler finds from within each room is what the
rooms below it show, and nothing else (cmake/rooms.cmake)."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "dev"

# Each room, and the rooms that it may see.
BELOW = {
    "base": set(),
    "map": {"base"},
    "pmem": {"base"},
    "media": {"base", "pmem"},
    "core": {"base", "pmem", "media"},
    "check": {"base", "pmem", "media"},
    "vfs": {"base", "pmem", "media", "core", "map"},
    "clients": {"base", "pmem", "media", "core", "map", "vfs"},
    "views": {"base", "pmem", "media", "core", "map", "vfs"},
    "keeper": {"base", "pmem", "media", "core", "map", "vfs", "clients", "views"},
    "fuse": {"base", "pmem", "media", "core", "map", "vfs", "clients", "views", "keeper"},
    "vhost": {"base", "pmem", "media", "core", "map", "vfs"},
    "daemon": {"base", "pmem", "media", "core", "map", "vfs", "clients", "views", "keeper", "fuse", "vhost"},
    "volumes": {"base"},
    "plugin": {"base", "volumes"},
    "tools": {"base", "pmem", "media", "core", "volumes"},
}
# Of include/daxfuse.
WIRE = {
    "base": set(), "map": set(), "pmem": set(),
    "media": {"format.h"}, "core": {"format.h"}, "check": {"format.h"},
}
ALL_BUT_LIBRARY = {"format.h", "ioctl.h", "direct.h"}
WIRE |= dict.fromkeys(("views", "keeper", "fuse", "daemon"), ALL_BUT_LIBRARY | {"daxview.h"})


def include_flags(room):
    commands = json.loads((BUILD / "compile_commands.json").read_text())
    command = next(c for c in commands
                   if Path(c["file"]).parent == ROOT / "daxfuse" / room
                   and f"dxf_{room}.dir" in c["command"])
    words = shlex.split(command["command"])
    return [words[0], *(word for word in words if word.startswith("-I"))]


def found(room, headers):
    """Which of these headers the compiler finds, included from that room."""
    text = "".join(f'#if __has_include("{header}")\nFOUND {header}\n#endif\n' for header in headers)
    out = subprocess.run([*include_flags(room), "-E", "-P", "-xc", "-"], input=text, check=True,
                         capture_output=True, text=True, cwd="/").stdout
    return set(re.findall(r"FOUND (\S+)", out))


def shown_by(room):
    text = (ROOT / "daxfuse" / room / "CMakeLists.txt").read_text()
    public = re.search(r"PUBLIC ([^\n]*)", text)
    return {f"daxfuse/{room}/{header}" for header in public[1].split()} if public else set()


def all_headers():
    return {str(path.relative_to(ROOT)) for path in (ROOT / "daxfuse").glob("*/**/*.h")}


@pytest.mark.parametrize("room", BELOW)
def test_a_room_sees_what_is_below(room):
    expected = set().union(*(shown_by(below) for below in BELOW[room]), shown_by(room))
    assert found(room, all_headers()) == expected


@pytest.mark.parametrize("room", BELOW)
def test_headers_for_others_go_to_rooms_that_need_them(room):
    headers = {f"daxfuse/{path.name}" for path in (ROOT / "include" / "daxfuse").glob("*.h")}
    allowed = {f"daxfuse/{name}" for name in WIRE.get(room, ALL_BUT_LIBRARY)}
    assert found(room, headers) == allowed


def test_every_room_is_in_the_table():
    rooms = {path.parent.name for path in (ROOT / "daxfuse").glob("*/CMakeLists.txt")}
    assert rooms == set(BELOW) | {"daxmap"}


def test_the_source_tree_is_on_no_path():
    for room in BELOW:
        assert f"-I{ROOT}" not in include_flags(room), room


def test_the_transport_calls_the_vfs_only():
    """Not one function of core, of the engine or of the media: operations stand in vfs, once."""
    out = subprocess.run(["nm", "-u", BUILD / "lib" / "libdxf_fuse.a"], check=True,
                         capture_output=True, text=True).stdout
    called = {line.split()[-1] for line in out.splitlines() if line.startswith(" ")}
    assert {"vfs_write", "vfs_rename", "vfs_setxattr"} <= called
    below = {name for name in called if re.match(r"(fs|map|tx|pmem|pins)_", name)}
    assert below == {"fs_clock"}


def symbols_of(objects):
    """Of each object file: what it defines for others, and what it calls of others."""
    for path in objects:
        out = subprocess.run(["nm", path], check=True, capture_output=True, text=True).stdout
        words = [line.split() for line in out.splitlines()]
        yield (path, {word[-1] for word in words if word[-2] in "TDBR"},
               {word[-1] for word in words if word[-2] == "U"})


def circles(graph):
    """The groups of nodes that reach each other (Tarjan's strongly connected components)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            at = stack.index(node)
            found.append(sorted(stack[at:]))
            del stack[at:]

    for node in graph:
        if node not in index:
            visit(node)
    return found


@pytest.mark.parametrize("room", ["vfs", "clients", "views", "keeper", "fuse", "daemon", "daxmap"])
def test_calls_go_one_way(room):
    """No circle of calls over more than three files: a room can be read from the bottom up."""
    commands = json.loads((BUILD / "compile_commands.json").read_text())
    outputs = [re.search(r" -o (\S+)", command["command"])[1] for command in commands
               if (ROOT / "daxfuse" / room) in Path(command["file"]).parents]
    objects = [BUILD / output for output in outputs if "preload.dir" not in output]
    symbols = list(symbols_of(objects))
    home = {name: path for path, defined, _ in symbols for name in defined}
    graph = {path: {home[name] for name in called if name in home} - {path}
             for path, _, called in symbols}
    assert len(graph) > 3
    assert [circle for circle in circles(graph) if len(circle) > 3] == []


def test_locks_are_taken_by_their_rank():
    """base/lockrank.h has the one order; these call it themselves, with a key or for many stripes. Other
    processes than the daemon have other locks: the library, and the plugin, which holds one at a time."""
    by_hand = {"base/lockrank.h", "map/view.c", "map/file.c", "media/quota.c"}
    taking = re.compile(r"pthread_(mutex|rwlock)_(try|timed)?(rd|wr)?lock\(")
    found = {str(path.relative_to(ROOT / "daxfuse")) for path in (ROOT / "daxfuse").rglob("*.[ch]")
             if not {"daxmap", "plugin"} & set(path.parts) and taking.search(path.read_text())}
    assert found == by_hand
