# SPDX-License-Identifier: BSD-3-Clause
"""The tools that ask a running daemon."""

import errno
import fcntl
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.pool import abort_connection

MIB = 1 << 20
UNIT = 2 * MIB


def test_status(tool, image, mount):
    path = image(256 * MIB)
    point = mount(path)
    status = tool("daxfuse", "status", point).json
    assert status["device"] == str(path)
    assert status["uuid"] == tool("daxfuse", "probe", path).json["uuid"]
    assert status["durability"] == "process" and status["granularity"] == "page"
    human = tool("daxfuse", "status", "-u", point).stdout
    assert status["uuid"] in human and "{" not in human


def status_of_all(bin_dir, points):
    """What `daxfuse status` shows where only these mounts are seen: others have some, too."""
    ours = "|".join(map(str, points))
    script = f"""
        for point in $(findmnt -rn -t fuse.daxfuse -o TARGET | grep -vxE '{ours}'); do
            umount -l "$point"
        done
        exec {bin_dir}/daxfuse status
    """
    done = subprocess.run(["unshare", "--mount", "bash", "-c", script], check=True,
                          capture_output=True, text=True, timeout=120)
    return {entry["mountpoint"]: entry for entry in json.loads(done.stdout)}


def test_status_of_all_mounts(bin_dir, tool, image, mount):
    points = [mount(image(name="one")), mount(image(name="two"))]
    shown = status_of_all(bin_dir, points)
    assert set(shown) == set(map(str, points))
    assert all(entry["responding"] for entry in shown.values())


@pytest.fixture
def stopped(tool, image, mount):
    """A mount whose daemon is stopped, and its image."""
    path = image(name="stopped")
    point = mount(path)
    pid = tool("daxfuse", "status", point).json["mount"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    yield point, path
    os.kill(pid, signal.SIGCONT)


def test_status_of_a_stopped_daemon(bin_dir, tool, image, mount, stopped):
    """It holds nobody up, and is an error only for who asks for it."""
    point, path = stopped
    other = mount(image(name="other"))
    begin = time.monotonic()
    shown = status_of_all(bin_dir, [point, other])
    assert time.monotonic() - begin < 30
    assert shown[str(other)]["responding"] is True
    assert shown[str(other)]["space"]["units"] > 0
    assert shown[str(point)] == {"mountpoint": str(point), "device": str(path), "responding": False,
                                 "error": os.strerror(errno.ETIMEDOUT)}
    asked = tool("daxfuse", "status", point, code=1, timeout=60)
    assert not asked.stdout and str(point) in asked.stderr


def test_umount_of_a_stopped_daemon(tool, stopped):
    """It is found by its name alone."""
    point, _ = stopped
    tool("daxfuse", "umount", f"{point}/.", timeout=20)
    assert not os.path.ismount(point)


def test_status_after_an_abort(bin_dir, tool, image, mount):
    """The mount is there still, but dead."""
    point = mount(image())
    pid = tool("daxfuse", "status", point).json["mount"]["pid"]
    abort_connection(os.minor(os.stat(point).st_dev))
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.01)
    shown = status_of_all(bin_dir, [point])
    if shown:
        assert shown[str(point)]["responding"] is False
        tool("daxfuse", "status", point, code=1)
        tool("daxfuse", "umount", point)


def test_map_agrees_with_the_device(tool, image, mount):
    """Every extent, read from the image behind the mount's back, is the file's data."""
    path = image(256 * MIB)
    point = mount(path)
    data = random.Random(1).randbytes(9 * MIB + 12345)
    file = point / "file"
    file.write_bytes(data)
    extents = tool("daxfuse", "map", file).json["extents"]
    covered = 0
    with open(path, "rb") as device:
        for extent in extents:
            assert extent["file_offset"] == covered
            length = min(extent["length"], len(data) - covered)
            device.seek(extent["device_offset"])
            assert device.read(length) == data[covered:covered + length]
            covered += length
    assert covered == len(data)
    assert all(extent["device_offset"] % UNIT == 0 for extent in extents if extent["unit"])
    human = tool("daxfuse", "map", "-u", file).stdout
    assert "█" in human and str(file) in human


def test_map_of_many_extents(tool, image, mount):
    """More extents than one answer of the daemon holds."""
    point = mount(image(256 * MIB))
    file = point / "sparse"
    with open(file, "wb") as out:
        for i in range(1000):
            out.seek(i * 16384)
            out.write(b"x" * 4096)
    extents = tool("daxfuse", "map", file).json["extents"]
    offsets = [extent["file_offset"] for extent in extents]
    assert offsets == sorted(set(offsets))
    covered = {offset // 4096 for extent in extents
               for offset in range(extent["file_offset"],
                                   extent["file_offset"] + extent["length"], 4096)}
    assert {i * 4 for i in range(1000)} <= covered


def test_map_of_nothing(tool, image, mount):
    point = mount(image())
    (point / "empty").touch()
    assert tool("daxfuse", "map", point / "empty").json["extents"] == []
    assert tool("daxfuse", "map", "-u", point / "empty").stdout


def test_quota(tool, image, mount):
    point = mount(image(256 * MIB))
    tree = point / "tree"
    tree.mkdir()
    assert tool("daxfuse", "quota", point).json == []
    tool("daxfuse", "quota", tree, "7", "--assign", "--bytes", "8M", "--inodes", "10")
    one = tool("daxfuse", "quota", point, "7").json
    assert (one["project"], one["byte_limit"], one["inode_limit"]) == (7, 8 * MIB, 10)
    (tree / "file").write_bytes(b"x" * MIB)
    assert tool("daxfuse", "quota", point, "7").json["bytes"] >= MIB
    with pytest.raises(OSError) as error, open(tree / "large", "wb", buffering=0) as out:
        for _ in range(16):
            out.write(b"x" * MIB)
    assert error.value.errno == 122
    tool("daxfuse", "quota", point, "7", "--bytes", "0")
    (tree / "large").write_bytes(b"x" * 16 * MIB)
    listed = tool("daxfuse", "quota", point).json
    assert [entry["project"] for entry in listed] == [7]
    assert listed[0]["inode_limit"] == 10 and listed[0]["byte_limit"] == 0
    assert "7" in tool("daxfuse", "quota", "-u", point).stdout
    tool("daxfuse", "quota", point, "8", code=1)


def test_label_of_a_mounted_pool(tool, image, mount):
    path = image()
    point = mount(path)
    tool("daxfuse", "label", point, "by mount")
    assert tool("daxfuse", "label", path).stdout == "by mount\n"
    tool("daxfuse", "label", path, "by device")
    assert tool("daxfuse", "label", point).stdout == "by device\n"


def test_umount_waits_for_the_daemon(tool, image, mount):
    path = image()
    point = mount(path)
    (point / "file").write_text("kept")
    tool("daxfuse", "umount", "--wait", point)
    with open(path, "r+b") as device:
        fcntl.flock(device, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not os.path.ismount(point)
    assert (mount(path) / "file").read_text() == "kept"


def test_umount_busy(tool, image, mount):
    point = mount(image())
    with open(point / "file", "w"):
        refused = tool("daxfuse", "umount", point, code=1)
    assert "fuser" in refused.stderr
    tool("daxfuse", "umount", point)


def test_mounted_pool_is_left_alone(tool, image, mount):
    path = image()
    mount(path)
    assert "daxfuse (pid" in tool("mkfs.daxfuse", "-f", path, code=8).stderr
    assert tool("fsck.daxfuse", "-n", path, code=8).stderr
    probed = tool("daxfuse", "probe", path).json
    assert probed["mountable"] is True


def test_findmnt_shows_the_device(image, mount):
    path = image()
    point = mount(path)
    out = subprocess.run(["findmnt", "-n", "-t", "fuse.daxfuse", "-M", point, "-o", "SOURCE"],
                         check=True, capture_output=True, text=True).stdout
    assert out.strip() == str(path)


@pytest.fixture(params=['"', " "], ids=["plain", "escaped"])
def longest(request, tool, memory_dir):
    """(device, mount point) with the longest paths that there are, mounted; blanks are four characters in
    tables of mounts."""
    folder = memory_dir
    while len(str(folder)) < 3860:
        folder /= "/".join([request.param * 100] * 2)
    folder /= "x" * (4085 - len(str(folder)))
    folder.mkdir(parents=True)
    device, point = folder / "pool", folder / "mnt"
    with open(device, "wb") as file:
        file.truncate(64 << 20)
    point.mkdir()
    tool("mkfs.daxfuse", "-q", device)
    tool("daxfuse", device, point)
    yield device, point
    if os.path.ismount(point):
        subprocess.run(["umount", point], check=True)


def test_status_of_the_longest_paths(tool, longest):
    """Device and mountpoint together are longer than the answer may be: their ends are said."""
    device, point = longest
    status = tool("daxfuse", "status", point).json
    for key, path in (("device", device), ("mountpoint", point)):
        assert status[key].startswith("...") and str(path).endswith(status[key][3:])
        assert len(status[key]) > 500


def test_commands_on_the_longest_paths(tool, longest):
    """Lines of tables of mounts may have more than 30,000 characters."""
    device, point = longest
    assert any(one["mountpoint"][-500:] == str(point)[-500:] for one in tool("daxfuse", "status").json)
    tool("daxfuse", "restart", point)
    busy = tool("mkfs.daxfuse", "-f", device, code=8)
    assert "in use" in busy.stderr
    tool("daxfuse", "umount", "--wait", point)
    assert not os.path.ismount(point)
    tool("fsck.daxfuse", "-n", device)
