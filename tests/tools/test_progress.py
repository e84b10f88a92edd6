# SPDX-License-Identifier: BSD-3-Clause
"""Commands that may take long say on a terminal how far they are, and leave nothing of that behind; where
there is no terminal they say nothing."""

import json
import os
import pty
import re
import subprocess

import pytest

from test_realign import scatter
from support.pool import MIB


@pytest.fixture
def on_terminal(bin_dir):
    """on_terminal(*words) -> (stdout, what came to the terminal, which is stderr)"""
    def run(program, *words):
        ours, theirs = pty.openpty()
        process = subprocess.Popen([bin_dir / program, *map(str, words)], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=theirs, text=True)
        os.close(theirs)
        said = b""
        try:
            while part := os.read(ours, 65536):
                said += part
        except OSError:  # EIO: nobody has the other end any more
            pass
        os.close(ours)
        out = process.communicate(timeout=120)[0]
        assert process.returncode == 0, said
        return out, said.decode()
    return run


def shown(terminal):
    """What is left on a line: of each character the last one that was put there."""
    line = []
    for part in re.split(r"(\r|\x1b\[K)", terminal):
        if part == "\r":
            at = 0
        elif part == "\x1b[K":
            del line[at:]
        else:
            at = 0 if not line else at
            line[at:at + len(part)] = part
            at += len(part)
    return "".join(line).strip()


def test_mkfs_of_a_terabyte(on_terminal, image):
    path = image(1 << 40)
    out, terminal = on_terminal("mkfs.daxfuse", path)
    assert re.search(r"\r *[1-9]\d? %", terminal) and shown(terminal) == ""
    assert out
    assert on_terminal("mkfs.daxfuse", "-f", "-q", path) == ("", "")


def test_fsck_of_a_terabyte(tool, on_terminal, image):
    path = image(1 << 40)
    tool("mkfs.daxfuse", "-q", path)
    out, terminal = on_terminal("fsck.daxfuse", "-n", "-f", path)
    for what in ("inodes", "units"):
        assert re.search(rf"\r{what} +50 %", terminal)
    assert shown(terminal) == "" and json.loads(out)


def test_realign(tool, on_terminal, image, mount):
    point = mount(image(128 * MIB))
    scatter(tool, point)
    (point / "filler").unlink()
    out, terminal = on_terminal("daxfuse", "realign", point)
    assert re.search(r"\r\d+ files, .* gathered  \S", terminal) and shown(terminal) == ""
    assert json.loads(out)["files"] >= 3
    assert on_terminal("daxfuse", "realign", "-q", point)[1] == ""


def test_removal_of_a_volume(tool, on_terminal, image, mount):
    point = mount(image(128 * MIB))
    tool("daxfuse", "volume", "create", point, "db")
    for number in range(600):
        (point / "volumes/db" / str(number)).touch()
    _, terminal = on_terminal("daxfuse", "volume", "rm", "--wait", point, "db")
    assert re.search(r"\r512 files deleted", terminal) and shown(terminal) == ""


def test_without_a_terminal(tool, image, mount):
    path = image(128 * MIB)
    assert tool("mkfs.daxfuse", path).stderr == ""
    point = mount(path)
    scatter(tool, point)
    (point / "filler").unlink()
    assert tool("daxfuse", "realign", point).stderr == ""
    tool("daxfuse", "volume", "create", point, "db")
    assert tool("daxfuse", "volume", "rm", "--wait", point, "db").stderr == ""
    tool("daxfuse", "umount", "--wait", point)
    assert tool("fsck.daxfuse", "-n", "-f", path).stderr == ""
