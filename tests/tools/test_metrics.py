# SPDX-License-Identifier: BSD-3-Clause
"""daxfuse status --prometheus: what it says is true, Prometheus takes it, and the dashboard finds it."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from support.packages import unpacked
from support.pool import MIB

ROOT = Path(__file__).parents[2]
SAMPLE = re.compile(r'daxfuse_(\w+)\{(.*)\} (\S+)$')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="is told all only as administrator")


@pytest.fixture
def point(image, mount):
    return mount(image(128 * MIB))


def run(bin_dir, *words):
    return subprocess.run([bin_dir / "daxfuse", *words], capture_output=True, text=True)


def metrics(bin_dir, point):
    """{(name, labels but for those of the mount): value}"""
    found = {}
    for line in run(bin_dir, "status", "--prometheus", point).stdout.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        labels = dict(LABEL.findall(labels))
        assert labels.pop("mountpoint") == str(point) and labels.pop("uuid")
        key = name, tuple(sorted(labels.items()))
        assert key not in found
        found[key] = float(value)
    return found


def requests(found, operation):
    return found.get(("request_duration_seconds_count", (("operation", operation),)), 0)


def test_prometheus_takes_it(point, bin_dir):
    os.mkdir(point / "d")
    text = run(bin_dir, "status", "--prometheus", point).stdout
    check = subprocess.run([unpacked("prometheus") / "usr/bin/promtool", "check", "metrics"],
                           input=text, capture_output=True, text=True)
    assert check.returncode == 0 and not check.stderr, check.stderr


def test_space_is_what_statfs_says(point, bin_dir):
    (point / "f").write_bytes(bytes(5 * MIB))
    found, now = metrics(bin_dir, point), os.statvfs(point)
    assert found["up", ()] == 1
    assert found["free_bytes", ()] == now.f_bfree * now.f_frsize
    assert found["size_bytes", ()] == 128 * MIB
    blocks = found["free_blocks", ()] * 4096
    assert found["free_units", ()] * 2 * MIB + blocks == found["free_bytes", ()]
    assert found["fragmentation_ratio", ()] == pytest.approx(blocks / found["free_bytes", ()])


def test_requests_are_counted(point, bin_dir):
    before = metrics(bin_dir, point)
    for number in range(20):
        os.mkdir(point / f"d{number}")
    after = metrics(bin_dir, point)
    assert requests(after, "mkdir") - requests(before, "mkdir") == 20
    buckets = {float(dict(labels)["le"]): value for (name, labels), value in after.items()
               if name == "request_duration_seconds_bucket" and ("operation", "mkdir") in labels}
    assert sorted(buckets.values()) == [buckets[bound] for bound in sorted(buckets)]
    assert buckets[float("inf")] == requests(after, "mkdir")
    total = after["request_duration_seconds_sum", (("operation", "mkdir"),)]
    assert 0 < total < 20 * 60


def test_projects_and_volumes(point, bin_dir):
    os.mkdir(point / "web")
    assert run(bin_dir, "quota", point / "web", "7", "--assign", "--bytes", "10M").returncode == 0
    (point / "web/f").write_bytes(bytes(3 * 4096))
    made = run(bin_dir, "volume", "create", point, "db", "-o", "size=20M")
    assert made.returncode == 0, made.stderr
    found = metrics(bin_dir, point)
    web = (("project", "7"), ("volume", ""))
    assert found["project_bytes", web] >= 3 * 4096
    assert found["project_limit_bytes", web] == 10 * MIB
    limits = {dict(labels)["volume"]: value for (name, labels), value in found.items()
              if name == "project_limit_bytes"}
    assert limits["db"] == 20 * MIB


def test_restarts(point, bin_dir):
    assert metrics(bin_dir, point)["starts_total", ()] == 1
    assert run(bin_dir, "restart", point).returncode == 0
    assert metrics(bin_dir, point)["starts_total", ()] == 2


def test_the_file_is_replaced(point, bin_dir, tmp_path):
    path = tmp_path / "daxfuse.prom"
    path.write_text("old")
    done = run(bin_dir, "status", "--prometheus", "--output", path, point)
    assert done.returncode == 0 and not done.stdout and not done.stderr
    assert path.read_text().startswith("# HELP daxfuse_up ")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == [path.name]
    done = run(bin_dir, "status", "--prometheus", "--output", tmp_path / "no/file", point)
    assert done.returncode == 1 and "no/file" in done.stderr
    assert run(bin_dir, "status", "--output", path, point).returncode == 1


def test_a_label_that_needs_quoting(point, bin_dir):
    assert run(bin_dir, "label", point, 'a"b\\c').returncode == 0
    assert ',label="a\\"b\\\\c",' in run(bin_dir, "status", "--prometheus", point).stdout


def test_the_dashboard_finds_it(point, bin_dir):
    text = run(bin_dir, "status", "--prometheus", point).stdout
    families = set(re.findall(r"^# TYPE (\w+)", text, re.M))
    board = json.loads((ROOT / "contrib/grafana/daxfuse.json").read_text())
    asked = {name for panel in board["panels"] for target in panel["targets"]
             for name in re.findall(r"daxfuse_\w+", target["expr"])}
    assert {re.sub(r"_seconds_(bucket|count|sum)$", "_seconds", name) for name in asked} <= families
    assert len(asked) > 15
