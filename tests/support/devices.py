# SPDX-License-Identifier: BSD-3-Clause
"""
Devices of any size for pools, where DAXFUSE_REGION names a region of memory that the kernel leaves alone
(the tests' guest has one): daxctl makes them of what is free there, of several pieces if need be.
"""

import json
import os
import subprocess

UNIT = 2 << 20


def daxctl(*words):
    done = subprocess.run(["daxctl", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"daxctl {words}: {done.stderr}"
    return json.loads(done.stdout) if done.stdout else None


def are_wanted():
    """Whether pools lie on devices, and not on files in memory."""
    return "DAXFUSE_REGION" in os.environ


def create(size, *options):
    """A device of that size at least; its path."""
    size = -(-size // UNIT) * UNIT
    [made] = daxctl("create-device", "-r", os.environ["DAXFUSE_REGION"], "-s", str(size), *options)
    return f"/dev/{made['chardev']}"


def destroy(path):
    """It waits for what still uses the device's memory."""
    name = path.removeprefix("/dev/")
    daxctl("disable-device", name)
    daxctl("destroy-device", "-r", os.environ["DAXFUSE_REGION"], name)
