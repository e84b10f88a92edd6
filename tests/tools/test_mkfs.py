# SPDX-License-Identifier: BSD-3-Clause
"""mkfs.daxfuse and daxfuse probe: what is overwritten, and what is found."""

import subprocess
import uuid

import pytest

MIB = 1 << 20


def probe(tool, image, code=0):
    return tool("daxfuse", "probe", image, code=code).json


def test_blank_image(tool, image):
    path = image(64 * MIB)
    assert probe(tool, path, code=2)["content"] == "blank"
    out = tool("mkfs.daxfuse", path).stdout
    found = probe(tool, path)
    assert found["content"] == "pool" and found["type"] == "daxfuse"
    assert found["mountable"] is True and found["spare_super"] is False
    assert found["size"] == 64 * MIB and found["version"] == 1
    assert "label" not in found
    assert found["uuid"] in out
    assert uuid.UUID(found["uuid"]).version == 4


def test_label_and_uuid(tool, image):
    path = image()
    given = str(uuid.uuid4())
    tool("mkfs.daxfuse", "-L", "a label", "-U", given, path)
    found = probe(tool, path)
    assert (found["label"], found["uuid"]) == ("a label", given)
    lines = tool("daxfuse", "probe", "--udev", path).stdout.splitlines()
    pairs = dict(line.split("=", 1) for line in lines)
    assert pairs["ID_FS_TYPE"] == "daxfuse"
    assert pairs["ID_FS_USAGE"] == "filesystem"
    assert pairs["ID_FS_UUID"] == pairs["ID_FS_UUID_ENC"] == given
    assert pairs["ID_FS_LABEL"] == "a_label"
    assert pairs["ID_FS_LABEL_ENC"] == r"a\x20label"


def test_udev_output_is_safe(tool, image):
    path = image()
    tool("mkfs.daxfuse", "-L", 'x"; reboot\n$(id)', path)
    lines = tool("daxfuse", "probe", "--udev", path).stdout.splitlines()
    assert all(line.startswith("ID_FS_") for line in lines)
    encoded = [line for line in lines if line.startswith("ID_FS_LABEL_ENC=")][0]
    assert not set(encoded.split("=", 1)[1]) & set(' "$;\n()')


def test_size_is_whole_units(tool, image):
    path = image(64 * MIB + 3 * MIB)
    tool("mkfs.daxfuse", path)
    assert probe(tool, path)["size"] == 66 * MIB


def test_existing_pool_needs_force(tool, image):
    path = image()
    tool("mkfs.daxfuse", path)
    before = probe(tool, path)["uuid"]
    refused = tool("mkfs.daxfuse", path, code=8)
    assert refused.stdout == ""
    assert before in refused.stderr and "-f" in refused.stderr
    assert probe(tool, path)["uuid"] == before
    tool("mkfs.daxfuse", "-f", path)
    assert probe(tool, path)["uuid"] != before


@pytest.mark.parametrize("command, name", [
    (["mkfs.ext4", "-q", "-F"], "ext4"),
    (["mkfs.xfs", "-q", "-f"], "xfs"),
    (["mkswap"], "swap"),
])
def test_foreign_signature(tool, image, command, name):
    path = image(512 * MIB)
    subprocess.run([*command, path], check=True, capture_output=True)
    assert probe(tool, path, code=2) | {"uuid": 0} == {
        "device": str(path), "content": "foreign", "type": name, "uuid": 0}
    assert name in tool("mkfs.daxfuse", path, code=8).stderr
    tool("mkfs.daxfuse", "-f", path)
    assert probe(tool, path)["content"] == "pool"


@pytest.mark.parametrize("magic, name, advice", [
    ((0x87b282ff).to_bytes(8, "little"), "famfs", "unmount it on all hosts"),
    (b"PMEMOBJ\0", "pmemobj", "end the programs"),
    (b"PMEMLOG\0", "pmemlog", "end the programs"),
    (b"PMEMBLK\0", "pmemblk", "end the programs"),
])
def test_what_else_lies_on_device_dax(tool, image, magic, name, advice):
    """libblkid does not know these."""
    path = image()
    with open(path, "r+b") as file:
        file.write(magic + b"\1" * 100)
    found = tool("daxfuse", "probe", path, code=2).json
    assert (found["content"], found["type"]) == ("foreign", name)
    refused = tool("mkfs.daxfuse", path, code=8).stderr
    assert name in refused and advice in refused and "-f" in refused
    tool("mkfs.daxfuse", "-q", "-f", path)


def test_foreign_over_old_pool(tool, image, tmp_path):
    """Others leave our spare superblock at the end of the device."""
    path = image(512 * MIB)
    tool("mkfs.daxfuse", path)
    with open(path, "r+b") as file:
        file.seek(510 * MIB)
        spare = file.read(4096)
        file.seek(0)
        file.write(bytes(4096))
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "nodiscard", path], check=True)
    with open(path, "r+b") as file:
        file.seek(510 * MIB)
        file.write(spare)
    assert probe(tool, path, code=2)["type"] == "ext4"
    tool("mkfs.daxfuse", path, code=8)
    before = path.read_bytes()
    (tmp_path / "mnt").mkdir()
    tool("daxfuse", path, tmp_path / "mnt", code=32)
    tool("fsck.daxfuse", "-y", path, code=8)
    assert path.read_bytes() == before


@pytest.mark.parametrize("offset", [0, 100 * 1024, 2 * MIB - 1, 64 * MIB - 1])
def test_unknown_data(tool, image, offset):
    path = image(64 * MIB)
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"x")
    assert probe(tool, path, code=2)["content"] == "unknown"
    tool("mkfs.daxfuse", path, code=8)
    tool("mkfs.daxfuse", "-f", path)


def test_dry_run(tool, image):
    path = image()
    tool("mkfs.daxfuse", "-n", path)
    assert probe(tool, path, code=2)["content"] == "blank"


def test_quiet(tool, image):
    done = tool("mkfs.daxfuse", "-q", image())
    assert (done.stdout, done.stderr) == ("", "")


def test_damaged_first_super(tool, image):
    path = image()
    tool("mkfs.daxfuse", "-L", "kept", path)
    with open(path, "r+b") as file:
        file.seek(40)
        file.write(b"\xff")
    found = probe(tool, path)
    assert found["spare_super"] is True and found["mountable"] is True
    assert found["label"] == "kept"


def test_both_supers_damaged(tool, image):
    path = image(64 * MIB)
    tool("mkfs.daxfuse", path)
    with open(path, "r+b") as file:
        for offset in (40, 62 * MIB + 40):
            file.seek(offset)
            file.write(b"\xff")
    found = probe(tool, path)
    assert found["content"] == "pool" and found["mountable"] is False
    assert "uuid" not in found
    tool("mkfs.daxfuse", path, code=8)


def test_truncated_image(tool, image):
    path = image(64 * MIB)
    tool("mkfs.daxfuse", path)
    with open(path, "r+b") as file:
        file.truncate(32 * MIB)
    assert probe(tool, path)["mountable"] is False


@pytest.mark.parametrize("size, words", [
    (0, "too small"), (15 * MIB, "too small"), ((16 << 40) + (2 << 20), "too large")])
def test_size_out_of_range(tool, image, size, words):
    refused = tool("mkfs.daxfuse", image(size), code=8).stderr.splitlines()
    assert words in refused[0] and len(refused) == 2


def test_smallest_and_sparse_terabyte(tool, image):
    tool("mkfs.daxfuse", image(16 * MIB, "small"))
    large = image(1 << 40, "large")
    tool("mkfs.daxfuse", large)
    assert large.stat().st_blocks * 512 < 32 * MIB


def test_not_a_device(tool, tmp_path):
    for path in (tmp_path, "/dev/null", tmp_path / "missing"):
        lines = tool("mkfs.daxfuse", path, code=8).stderr.splitlines()
        assert lines[0].startswith(f"mkfs.daxfuse: {path}: ") and len(lines) == 2


def test_busy(tool, image):
    path = image()
    command = ["flock", "-x", path, "-c", "echo; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        refused = tool("mkfs.daxfuse", path, code=8)
        holder.kill()
    assert "in use by" in refused.stderr and "pid" in refused.stderr


@pytest.mark.parametrize("arguments", [
    [], ["-x", "a"], ["a", "b"], ["-L"], ["-U", "no", "a"], ["-L", "x" * 64, "a"]])
def test_usage(tool, arguments):
    done = tool("mkfs.daxfuse", *arguments, code=16)
    assert done.stdout == "" and "--help" in done.stderr
