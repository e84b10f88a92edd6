# SPDX-License-Identifier: BSD-3-Clause
"""fsck.daxfuse as a command: exit status, output, what it touches."""

import fcntl

import pytest

from pool import DATA, FREE, Pool


def damage_harmlessly(path):
    pool = Pool(path)
    pool.put(pool.word_at(pool.units(FREE)[0]), DATA)
    pool.close()


def damage_badly(path):
    pool = Pool(path)
    pool.set_inode(pool.lookup("direct"), magic=0)
    pool.close()


def test_clean(tool, populated):
    said = tool("fsck.daxfuse", "-n", populated).json
    assert said["clean"] and said["problems"] == []
    assert said["inodes"] == 324 and said["directories"] == 9
    assert said["units"] == 16 and said["inode_units"] == 1


def test_nothing_is_repaired_unasked(tool, populated):
    damage_harmlessly(populated)
    before = populated.read_bytes()
    for options in ([], ["-n"], ["-n", "-f"]):
        said = tool("fsck.daxfuse", *options, populated, code=4).json
        assert said["found"] == 1 and said["repaired"] == 0
    assert populated.read_bytes() == before


@pytest.mark.parametrize("option", ["-a", "-p"])
def test_preen_repairs_what_loses_nothing(tool, populated, option):
    damage_harmlessly(populated)
    said = tool("fsck.daxfuse", option, populated, code=1).json
    assert [p["problem"] for p in said["problems"]] == ["unit-lost"]
    assert tool("fsck.daxfuse", option, populated).json["clean"]


def test_preen_leaves_the_rest(tool, populated):
    damage_badly(populated)
    before = populated.read_bytes()
    said = tool("fsck.daxfuse", "-a", populated, code=4).json
    assert said["found"] > 0 and said["repaired"] == 0
    assert populated.read_bytes() == before
    tool("fsck.daxfuse", "-y", populated, code=1)
    assert tool("fsck.daxfuse", "-a", populated).json["clean"]


def test_for_people(tool, populated):
    assert "clean, 315 files in 9 directories" in tool("fsck.daxfuse", "-u", populated).stdout
    damage_badly(populated)
    said = tool("fsck.daxfuse", "-u", populated, code=4).stdout
    assert "no inode: no magic" in said and "fsck.daxfuse -y" in said
    assert "(repaired)" in tool("fsck.daxfuse", "-y", "-u", populated, code=1).stdout


def test_busy(tool, populated):
    with open(populated, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for option in ("-n", "-y"):
            done = tool("fsck.daxfuse", option, populated, code=8)
            assert done.stdout == "" and str(populated) in done.stderr


def test_no_pool(tool, image, tmp_path):
    assert "no pool" in tool("fsck.daxfuse", "-y", image(), code=8).stderr
    tool("fsck.daxfuse", "-y", tmp_path / "missing", code=8)


def test_truncated_image(tool, populated):
    with open(populated, "r+b") as file:
        file.truncate(24 << 20)
    assert "shorter" in tool("fsck.daxfuse", "-n", populated, code=8).stderr


@pytest.mark.parametrize("arguments", [[], ["-n", "-y", "x"], ["-Z", "x"], ["a", "b"]])
def test_usage(tool, arguments):
    tool("fsck.daxfuse", *arguments, code=16)

