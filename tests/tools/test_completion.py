# SPDX-License-Identifier: BSD-3-Clause
"""bash completion offers what the tables of options have: no more, no less."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
PATH={bin_dir}:$PATH
. {script}
compopt() {{ :; }}
COMP_LINE='{line}' COMP_POINT=${{#COMP_LINE}} COMP_WORDBREAKS=$' \\t\\n"><=;|&(:'
_daxfuse {program}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def complete(bin_dir):
    """complete("daxfuse status --h") -> what is offered."""
    def ask(line):
        script = SCRIPT.format(bin_dir=bin_dir, script=ROOT / "contrib/completion/daxfuse",
                               line=line, program=line.split()[0])
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout.split()
    return ask


def table(name):
    """The strings of a table of options in the sources."""
    text = (ROOT / name).read_text()
    return text[text.index("[] = {"):]


def long_options(source):
    """Of a command, as command_next() knows them."""
    text = (ROOT / "daxfuse/tools" / source).read_text()
    found = re.findall(r'^\t\{ [^,"]+, "([a-z-]+)", ', text, re.M)
    return {f"--{name}" for name in [*found, "help", "version"]}


COMMANDS = re.findall(r'^\t\{ "([a-z]+)", \w+_main,',
                      (ROOT / "daxfuse/tools/daxfuse.c").read_text(), re.M)


def test_commands(complete):
    assert len(COMMANDS) > 10
    assert set(COMMANDS) <= set(complete("daxfuse "))
    assert complete("daxfuse rea") == ["realign"]
    assert complete("daxfuse list stat") == []


@pytest.mark.parametrize("command", [name for name in COMMANDS
                                     if (ROOT / f"daxfuse/tools/{name}.c").exists() and name != "volume"])
def test_options_of_commands(complete, command):
    assert set(complete(f"daxfuse {command} -")) == long_options(f"{command}.c")


def test_commands_of_commands(complete):
    assert {"ls", "create", "rm"} <= set(complete("daxfuse volume "))
    assert complete("daxfuse volume cre") == ["create"]
    assert {"-o", "--help"} <= set(complete("daxfuse volume create -"))
    assert "-o" not in complete("daxfuse volume ls -")


@pytest.mark.parametrize("program", ["mkfs", "fsck"])
def test_options_of_programs(complete, program):
    assert set(complete(f"{program}.daxfuse -")) == long_options(f"{program}.c")


def test_mount_options(complete):
    """Those that the help has, each with its values."""
    text = table("daxfuse/daemon/options.c")
    entries = re.findall(r'^\t\{ "([a-z_]+=?)",[^}]*?\},$', text, re.M | re.S)
    with_help = {name for name, rest in re.findall(r'^\t\{ "([a-z_]+=?)",([^}]*?)\},$', text, re.M | re.S)
                 if not rest.rstrip().endswith("NULL")}
    assert len(entries) > len(with_help) > 10
    assert set(complete("daxfuse DEVICE POINT -o ")) == with_help
    assert complete("daxfuse /dev/dax0.0 /mnt -o ro,dax=al") == ["always"]
    assert set(complete("daxfuse D P -o keeper=")) == {"supervisor", "systemd", "none"}
    assert complete("daxfuse D P -o direct=g") == ["group="]
    assert complete("daxfuse D P -o ro,nosui") == ["ro,nosuid"]


def test_mount_points(complete, mount, image):
    point = mount(image())
    assert str(point) in complete("daxfuse status ")
    assert str(point) in complete("daxfuse umount --wait /dev/shm/")
