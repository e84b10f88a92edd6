# SPDX-License-Identifier: BSD-3-Clause
"""daxfuse dump shows every object, as it lies there."""

import pytest

from pool import SPLIT, INODE_DATA, ROOT, Pool


@pytest.fixture
def dump(tool, populated):
    return lambda *what, **kwargs: tool("daxfuse", "dump", populated, *what, **kwargs).json


@pytest.fixture
def pool(populated):
    pool = Pool(populated)
    yield pool
    pool.close()


@pytest.mark.parametrize("copy", [0, 1])
def test_super(dump, pool, copy):
    said = dump("super", copy)
    assert said["crc_right"] and said["label"] == "population"
    assert said["pool_size"] == 32 << 20 and said["root_ino"] == ROOT
    pool.put(pool.super_at(copy) + 4000, 1)
    assert not dump("super", copy)["crc_right"]


def test_journals(dump, pool):
    assert not any(journal["live"] for journal in dump("journals")["journals"])
    pool.journal(2, (1, pool.chunk_at(), bytes(16)), (2, pool.chunk_at(), bytes(8)))
    said = dump("journal", 2)
    assert said["live"]
    assert [(op["type"], op["length"]) for op in said["operations"]] == [("write", 16), ("set", 8)]


def test_units(dump, pool):
    said = dump("units")
    assert said["inodes"] == 1 and said["system"] == 2 and said["nonsense"] == 0
    unit = pool.units(SPLIT)[0]
    one = dump("unit", unit)
    assert one["state"] == "split" and len(one["blocks_taken"]) == said["blocks_taken"]


def test_chunk_and_inodes(dump, pool):
    used = dump("chunk", 0)["used"]
    assert ROOT in used and len(used) == 324
    root = dump("inode", ROOT)
    assert root["magic_right"] and root["mode"] == "040755" and root["parent"] == ROOT
    assert dump("inode", pool.lookup("inline"))["data"] == "i" * 100
    assert dump("inode", pool.lookup("table"))["data_format"] == "table"


def test_tail(dump, pool):
    ino = pool.lookup("direct")
    assert "tail_size" not in dump("inode", ino)
    pool.set_inode(ino, flags=0x4000, tail_size=77, tail_first=3)
    said = dump("inode", ino)
    assert (said["tail_size"], said["tail_first"]) == (77, 3)


def test_xattrs(dump, pool):
    said = dump("xattrs", pool.lookup("inline"))
    assert said["crc_right"]
    assert {x["name"]: x["value"] for x in said["xattrs"]} == {"user.small": "value",
                                                               "user.other": ""}
    large, = dump("xattrs", pool.lookup("table"))["xattrs"]
    assert large["value"] == "x" * 5000


def test_blocks(dump, pool):
    table = pool.get(pool.inode_at(pool.lookup("table")) + INODE_DATA) & ~0xFFF
    entries = dump("table", table)["entries"]
    assert [entry["index"] for entry in entries[:3]] == [0, 1, 2]
    bucket = next(pool.buckets(ROOT))
    names = {name["name"]: name["ino"] for name in dump("bucket", hex(bucket))["names"]}
    assert names["direct"] == names["hard-link"] == pool.lookup("direct")


def test_quotas(dump):
    quota, = dump("quotas")["quotas"]
    assert quota["project"] == 42 and quota["inodes"] == 2 and quota["block_limit"] == 100000


@pytest.mark.parametrize("what", [["inode", 1 << 40], ["unit", 99], ["table", 1 << 60],
                                  ["nonsense"], ["inode"], ["inode", "x"], ["units", 1]])
def test_refused(tool, populated, what):
    assert tool("daxfuse", "dump", populated, *what, code=1).stdout == ""


def test_damaged_objects_are_shown(dump, pool):
    """Nothing read from the pool is trusted, and all of it is shown."""
    inode, bucket = pool.lookup("direct"), next(pool.buckets(ROOT))
    pool.map[pool.inode_at(inode):pool.inode_at(inode) + 512] = b"\xff" * 512
    pool.map[bucket:bucket + 4096] = b"\xff" * 4096
    pool.journal(0, (77, 1 << 63, bytes(8)))
    assert not dump("inode", inode)["magic_right"]
    assert len(dump("bucket", bucket)["names"]) == 62
    assert dump("journal", 0)["operations"][0]["type"] == "nonsense"
    dump("xattrs", inode, code=1)
