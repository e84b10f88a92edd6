# SPDX-License-Identifier: BSD-3-Clause
"""The command lines of all tools, and those that need no mount."""

import re

import pytest

COMMANDS = ["list", "probe", "status", "map", "umount", "label", "quota", "volume", "volumes", "dump", "watch"]
TOOLS = [("mkfs.daxfuse",), ("fsck.daxfuse",), *(("daxfuse", name) for name in COMMANDS)]


@pytest.mark.parametrize("words", [("daxfuse",), *TOOLS], ids=" ".join)
def test_help_and_version(tool, words):
    help_text = tool(*words, "--help")
    assert help_text.stdout.startswith("usage: ") and help_text.stderr == ""
    version = tool(*words, "--version")
    assert re.match(rf"{' '.join(words)} \d+\.\d+\.\d+\b", version.stdout)


@pytest.mark.parametrize("words", TOOLS, ids=" ".join)
def test_unknown_option(tool, words):
    done = tool(*words, "--no-such-option", code=None)
    assert done.returncode != 0 and done.stdout == ""


def test_help_names_all_commands(tool):
    text = tool("daxfuse", "--help").stdout
    for name in COMMANDS:
        assert re.search(rf"^  {name}\b", text, re.M), name


def test_list(tool):
    assert isinstance(tool("daxfuse", "list").json, list)
    assert tool("daxfuse", "list", "-u").stdout


def test_label(tool, image):
    path = image()
    tool("mkfs.daxfuse", "-L", "one", path)
    assert tool("daxfuse", "label", path).stdout == "one\n"
    uuid = tool("daxfuse", "probe", path).json["uuid"]
    tool("daxfuse", "label", path, "x" * 63)
    assert tool("daxfuse", "label", path).stdout == "x" * 63 + "\n"
    tool("daxfuse", "label", path, "")
    assert tool("daxfuse", "label", path).stdout == "\n"
    assert tool("daxfuse", "probe", path).json["uuid"] == uuid
    tool("daxfuse", "label", path, "x" * 64, code=1)


def test_label_needs_a_pool(tool, image):
    path = image()
    assert "no pool" in tool("daxfuse", "label", path, code=1).stderr
    tool("daxfuse", "label", path, "x", code=1)


@pytest.mark.parametrize("words", [
    ("status", "/tmp"), ("map", "/etc/passwd"), ("quota", "/tmp"), ("umount", "/tmp"),
    ("umount", "/no/such/place"), ("probe", "/no/such/device")], ids=" ".join)
def test_not_ours(tool, words):
    done = tool("daxfuse", *words, code=1)
    lines = done.stderr.splitlines()
    assert done.stdout == "" and lines[0].startswith(f"daxfuse: {words[1]}: ") and len(lines) == 2


@pytest.mark.parametrize("words", [
    ("quota", "/tmp", "0"), ("quota", "/tmp", "x"), ("quota", "/tmp", "5000000000"),
    ("quota", "-b", "1Q", "/tmp", "1"), ("quota", "-b", "99999999999G", "/tmp", "1"),
    ("quota", "--assign", "/tmp")], ids=" ".join)
def test_quota_usage(tool, words):
    assert "--help" in tool("daxfuse", *words, code=1).stderr
