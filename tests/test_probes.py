# SPDX-License-Identifier: BSD-3-Clause
"""The engine's static probes: what is in the binary is what the documents and the script say, and the script
counts what the engine counts."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from support.direct import READ, UNIT, WRITE, Program
from support.pool import MIB, Pool
from support.process import eventually

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "contrib/daxfuse.bt"
MAP = ROOT / "daxfuse/map"


@pytest.fixture(scope="session")
def stress(bin_dir):
    """A program that has the engine."""
    return bin_dir.parent / "tests/unit/unit-map-stress_threads"


def probes_of(program):
    """{name: number of arguments} of the probes in a binary."""
    notes = subprocess.run(["readelf", "-n", program], check=True, capture_output=True, text=True,
                           env=os.environ | {"LC_ALL": "C"}).stdout
    found = re.findall(r"Provider: daxfuse\s+Name: (\w+)\s+Location:.*\s+Arguments: (.*)", notes)
    return {name: len(arguments.split()) for name, arguments in found}


@pytest.fixture(scope="session")
def probes(bin_dir):
    """What the daemon has."""
    if "SYS_SDT_H:PATH=SYS_SDT_H-NOTFOUND" in (bin_dir.parent / "CMakeCache.txt").read_text():
        pytest.skip("was built without <sys/sdt.h>")
    return probes_of(bin_dir / "daxfuse")


def test_all_programs_have_them(probes, stress):
    assert probes_of(stress) == probes


def test_documented(probes):
    table = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", (ROOT / "docs/design/probes.md").read_text(), re.M)
    assert {name: len(arguments.split(", ")) for name, arguments in table} == probes


def test_manual(probes):
    manual = (ROOT / "docs/man/daxfuse.8.scd").read_text().partition("# PROBES")[2].partition("\n# ")[0]
    assert set(re.findall(r"\*(\w+)\*\(_", manual)) == set(probes)


def clauses():
    """(probes, text) of each clause of the script."""
    for clause in re.split(r"\n(?=usdt:)", SCRIPT.read_text())[1:]:
        names = re.findall(r"^usdt:\$1:daxfuse:(\w+)", clause, re.M)
        yield names, clause


def test_script_uses_what_is_there(probes):
    used = set()
    for names, clause in clauses():
        last = max((int(n) for n in re.findall(r"\barg(\d)", clause)), default=-1)
        for name in names:
            assert name in probes
            assert last < probes[name], f"{name} has {probes[name]} arguments"
        used.update(names)
    assert used == set(probes)


@pytest.mark.parametrize("table, file, enum", [
    ("reason", "map.h", "map_fallback"),
    ("access", "map.h", "map_access"),
    ("kind", "map.h", "map_change_kind"),
    ("why", "internal.h", "revoke_reason"),
    ("held", "internal.h", "held"),
])
def test_script_knows_the_numbers(table, file, enum):
    """Each value of the C enum has an entry of its own in the script, by its number and, mostly, its name."""
    body = re.search(rf"enum {enum} \{{(.*?)\}}", (MAP / file).read_text(), re.S)[1]
    names = [name for name in re.findall(r"\b([A-Z]+_\w+)\b", re.sub(r"/\*.*?\*/", "", body, flags=re.S))
             if name != "MAP_FALLBACKS"]
    first = int((re.search(r"= (\d+)", body) or [0, 0])[1])
    said = dict(re.findall(rf'@{table}\[(\d+)\] = "([\w ]+)"', SCRIPT.read_text()))
    assert [int(number) for number in said] == list(range(first, first + len(names)))
    other_words = {"not": "let go", "unanswered": "not answered"}
    words = [name.split("_")[-1].lower() for name in names]
    assert list(said.values()) == [other_words.get(word, word) for word in words]


def test_builds_without(tmp_path):
    """<sys/sdt.h> is not needed."""
    for source in MAP.glob("*.c"):
        subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror",
                        "-fsyntax-only", f"-I{ROOT}", f"-I{ROOT}/include", source], check=True, cwd=tmp_path)


def bpftrace(*words):
    """It complains when it detaches if no tracefs is mounted; no matter. (In a mount namespace with
    one, it would hold the mounts of others.)"""
    return subprocess.run(["bpftrace", *map(str, words)], capture_output=True, text=True, timeout=120,
                          check=False)


@pytest.fixture
def tracing():
    """Skips where BPF programs cannot be attached to a process's own code."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not Path("/sys/bus/event_source/devices/uprobe").exists():
        pytest.skip("the kernel has no uprobes")
    if bpftrace("-e", "BEGIN { exit(); }").returncode:
        pytest.skip("bpftrace does not work here")


def maps_of(output):
    """The script's maps by their names, of what `bpftrace -f json` has printed."""
    maps = {}
    for line in output.splitlines():
        if line.startswith('{"type": "map"') or line.startswith('{"type": "hist"'):
            maps |= json.loads(line)["data"]
    return maps


def faults(traced, order):
    return sum(bucket["count"] for key, histogram in traced["@fault_ns"].items()
               if key.startswith(order) for bucket in histogram)


def test_script_counts_what_the_engine_counts(tracing, probes, stress):
    done = bpftrace("-f", "json", "-c", f"{stress} 1", SCRIPT, stress)
    assert done.returncode == 0, done.stderr
    counters = {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", done.stdout, re.M)}
    traced = maps_of(done.stdout)
    assert faults(traced, "2 MiB") == counters["huge"] > 0
    assert faults(traced, "4 KiB") == counters["page"] > 0
    for reason, n in traced["@fallbacks"].items():
        assert n == counters[f"fallback_{reason}"] > 0
    assert sum(traced["@first_writes"].values()) == counters["first_write"]
    assert traced["@promotions"]["0"] == counters["promoted"] > 0
    assert sum(traced["@promotions"].values()) == counters["promoted"] + counters["not_promoted"]
    assert sum(traced["@flushed"].values()) == counters["flushed"]
    assert set(traced["@lock_waits_by_file"]) == {"1", "2"}
    waits = sum(bucket["count"] for bucket in traced["@lock_wait_ns"])
    assert waits == sum(traced["@lock_waits_by_file"].values())


def use(pool):
    """A program that maps a file of 16 MiB and a bit, stores to it, and has the rest cut off."""
    path = pool.point / "file"
    path.write_bytes(b"x" * (16 * MIB + 100))
    with Program(pool.point) as program:
        file = program.open(path)
        for access in (READ, WRITE):
            for at in range(0, 16 * MIB, UNIT):
                file.map(at, UNIT, access=access)
        file.map(16 * MIB, access=WRITE)
        os.fsync(file.fd)
        os.truncate(path, 8 * MIB)
        return json.loads(pool.run("daxfuse", "status", pool.point))


@pytest.fixture
def pool(bin_dir, huge_dir):
    with Pool(bin_dir, huge_dir / "probes", size=128 * MIB) as pool:
        pool.mount("dax=always")
        yield pool


@pytest.fixture
def traced_daemon(tracing, probes, bin_dir, pool, tmp_path):
    """Ends the script, which has run on the pool's daemon, and gives its maps."""
    pid = json.loads(pool.run("daxfuse", "status", pool.point))["mount"]["pid"]
    with open(tmp_path / "out", "w") as out:
        tracer = subprocess.Popen(["bpftrace", "-f", "json", "-p", str(pid), SCRIPT, bin_dir / "daxfuse"],
                                  stdout=out, stderr=subprocess.DEVNULL)

    def stop():
        tracer.send_signal(signal.SIGINT)
        tracer.wait(60)
        return maps_of((tmp_path / "out").read_text())

    try:
        assert eventually(lambda: "Tracing" in (tmp_path / "out").read_text(), True)
        yield stop
    finally:
        tracer.kill()
        tracer.wait()


def test_daemon(pool, traced_daemon):
    """While a program maps a file."""
    counters = use(pool)["mappings"]["counters"]
    traced = traced_daemon()
    assert faults(traced, "2 MiB") == counters["huge"] == 16
    assert faults(traced, "4 KiB") == counters["page"] == 1
    assert traced["@fallbacks"] == {"eof": 1}
    assert traced["@first_writes"] == {"2 MiB": 8, "4 KiB": 1}
    assert traced["@revoked"]["change,let go"] >= 1
    assert "truncate" in traced["@change_ns"]
