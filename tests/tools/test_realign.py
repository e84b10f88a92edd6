# SPDX-License-Identifier: BSD-3-Clause
"""daxfuse realign: files that were written when no unit was free become whole ones."""

import json
import os
import random
import subprocess
import threading
import time

import pytest

MIB = 1 << 20
UNIT = 2 * MIB


def in_units(tool, path):
    """How many bytes of a file lie in whole units."""
    return sum(extent["length"] for extent in tool("daxfuse", "map", path).json["extents"]
               if extent["unit"])


def scattered_units(tool, path):
    """How many of its 2 MiB regions lie in blocks."""
    whole = set()
    for extent in tool("daxfuse", "map", path).json["extents"]:
        if extent["unit"]:
            end = extent["file_offset"] + extent["length"]
            whole |= set(range(extent["file_offset"] // UNIT, -(-end // UNIT)))
    return -(-os.path.getsize(path) // UNIT) - len(whole)


def take_units(tool, point):
    """The filler gets all whole units that there are."""
    with open(point / "filler", "ab") as file:
        while tool("daxfuse", "status", point).json["space"]["free_units"]:
            os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, UNIT)


def split_units(tool, point, count, part):
    """So many, with room in them, and no whole one is left to split."""
    small = [point / f"small{part}-{number}" for number in range(32 * count)]
    for path in small:
        path.write_bytes(b"y" * 65536)
    take_units(tool, point)
    inodes = tool("daxfuse", "status", point).json["space"]["inodes"]
    for number, path in enumerate(small):
        if number % 16:
            path.unlink()
            inodes -= 1
    # Files go a moment after their names, and may leave whole units then.
    while tool("daxfuse", "status", point).json["space"]["inodes"] > inodes:
        time.sleep(0.01)
    take_units(tool, point)


def scatter(tool, point, count=3, size=5 * MIB):
    """Files in blocks only: written while a filler held every unit. Their bytes."""
    contents, units = {}, 12
    with open(point / "filler", "wb") as file:
        free = os.statvfs(point).f_bfree * 4096
        os.posix_fallocate(file.fileno(), 0, free // UNIT * UNIT - (units + 8) * UNIT)
    # Which files lie beside each other depends on who wrote when, and a unit that keeps none is
    # the filler's.
    for part in range(20):
        split_units(tool, point, units, part)
        if os.statvfs(point).f_bavail * 4096 >= count * size + 2 * UNIT:
            break
        os.truncate(point / "filler", os.path.getsize(point / "filler") - units * UNIT)
    for number in range(count):
        contents[number] = random.Random(number).randbytes(size)
        (point / f"file{number}").write_bytes(contents[number])
    return contents


def free_the_units(point):
    (point / "filler").unlink()


@pytest.fixture
def scattered(tool, image, mount):
    point = mount(image(256 * MIB))
    contents = scatter(tool, point)
    # A unit may have become free while they were written, for one of them.
    assert sum(scattered_units(tool, point / f"file{number}") for number in contents) >= 7
    return point, contents


def test_gathers(tool, scattered):
    point, contents = scattered
    before = {number: os.stat(point / f"file{number}") for number in contents}
    first = tool("daxfuse", "realign", point).json
    assert first["gathered"] <= UNIT and first["left"] > 0 and first["errors"] == 0
    free_the_units(point)
    units = sum(scattered_units(tool, point / f"file{number}") for number in contents)
    run = tool("daxfuse", "realign", point).json
    assert run == {"files": len(contents), "gathered": units * UNIT, "left": 0, "errors": 0}
    for number, data in contents.items():
        path = point / f"file{number}"
        assert in_units(tool, path) == len(data)
        assert path.read_bytes() == data
        assert os.stat(path).st_mtime_ns == before[number].st_mtime_ns
    assert tool("daxfuse", "realign", point).json["gathered"] == 0
    human = tool("daxfuse", "realign", "-u", point / "file0").stdout
    assert "1 files of 2 MiB or more" in human and "{" not in human


def test_files_in_use(tool, scattered):
    """Written and read meanwhile: no byte is lost."""
    point, contents = scattered
    free_the_units(point)
    size = len(contents[0])
    expected = bytearray(contents[0])
    stop = threading.Event()

    def work():
        rng = random.Random(9)
        fd = os.open(point / "file0", os.O_RDWR)
        while not stop.is_set():
            at = rng.randrange(size - 10000)
            data = rng.randbytes(rng.randrange(1, 10000))
            os.pwrite(fd, data, at)
            expected[at:at + len(data)] = data
            assert os.pread(fd, 10000, at) == expected[at:at + 10000]
        os.close(fd)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.1)
    run = tool("daxfuse", "realign", "--rate", "20M", point).json
    time.sleep(0.1)
    stop.set()
    thread.join()
    assert run["left"] == 0
    assert (point / "file0").read_bytes() == expected
    assert in_units(tool, point / "file0") == size


def test_killed(bin_dir, tool, scattered):
    point, contents = scattered
    free_the_units(point)
    worker = subprocess.Popen([bin_dir / "daxfuse", "realign", "--rate", "10M", point],
                              stdout=subprocess.DEVNULL)
    units = [scattered_units(tool, point / f"file{number}") for number in contents]
    while [scattered_units(tool, point / f"file{number}") for number in contents] == units:
        time.sleep(0.005)
    worker.kill()
    worker.wait()
    assert tool("daxfuse", "realign", point).json["left"] == 0
    for number, data in contents.items():
        assert (point / f"file{number}").read_bytes() == data
        assert in_units(tool, point / f"file{number}") == len(data)


def test_rate(tool, scattered):
    """It may take longer on any machine, but never less."""
    point, contents = scattered
    free_the_units(point)
    start = time.monotonic()
    run = tool("daxfuse", "realign", "--rate", "12M", point).json
    assert run["gathered"] >= 7 * UNIT
    assert time.monotonic() - start >= run["gathered"] / (12 * MIB) * 0.9


def test_leaves_alone(tool, image, mount):
    """Small files, and files with few blocks here and there, cost what they cost."""
    point = mount(image(256 * MIB))
    (point / "small").write_bytes(b"x" * 100000)
    with open(point / "sparse", "wb") as file:
        for at in range(0, 64 * MIB, MIB):
            file.seek(at)
            file.write(b"x")
    before = [os.stat(point / name).st_blocks for name in ("small", "sparse")]
    run = tool("daxfuse", "realign", point).json
    assert run["gathered"] == 0 and run["files"] == 1
    assert [os.stat(point / name).st_blocks for name in ("small", "sparse")] == before


def test_who_may(bin_dir, image, mount, tmp_path):
    point = mount(image(256 * MIB))
    (point / "file").write_bytes(b"x" * 3 * MIB)
    (point / "file").chmod(0o644)
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                           bin_dir / "daxfuse", "realign", point / "file"], capture_output=True,
                          text=True)
    assert done.returncode == 1 and "run as root" in done.stderr
    assert json.loads(done.stdout)["errors"] == 1
    other = tmp_path / "elsewhere"
    other.write_bytes(b"x" * 3 * MIB)
    done = subprocess.run([bin_dir / "daxfuse", "realign", other], capture_output=True, text=True)
    assert done.returncode == 1 and "not on a mount of daxfuse" in done.stderr
