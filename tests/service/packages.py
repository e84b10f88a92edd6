# SPDX-License-Identifier: BSD-3-Clause
"""Packages of this tree: built here, or in a tree of another suite, and looked at by lintian."""

import os
import shutil
import subprocess
from pathlib import Path

import machine as machines

ROOT = Path(__file__).resolve().parents[2]
BUILD_LIMIT = 900

# In a tree of another suite: its tools, our source, and what it says.
IN_TREE = """
	set -e
	mount --make-rprivate /
	mkdir -p "$1/mnt/source" "$1/mnt/packages"
	mount --bind "$2" "$1/mnt/source"
	mount --bind "$3" "$1/mnt/packages"
	mount -t proc proc "$1/proc"
	HOME=/root exec chroot "$1" sh -ec '
		/mnt/source/contrib/debian/build /mnt/packages
		cd /mnt/packages
		lintian --allow-root --fail-on error *.changes >lintian || echo "exit status $?" >>lintian'
"""


def build_here(folder, log):
    if "DAXFUSE_PACKAGES" in os.environ:  # some that need not be built
        shutil.copytree(os.environ["DAXFUSE_PACKAGES"], folder, dirs_exist_ok=True)
    else:
        subprocess.run([ROOT / "contrib/debian/build", folder], stdout=log, stderr=log, check=True,
                       timeout=BUILD_LIMIT)
    (changes,) = folder.glob("*.changes")
    with open(folder / "lintian", "w") as said:
        done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error", changes], stdout=said)
        said.write(f"exit status {done.returncode}\n" if done.returncode else "")


def build_there(suite, folder, log, layer):
    tree = machines.call(ROOT / "tests/service/tree", suite, "packages").strip()
    place = machines.Machine(tree, layer)
    try:
        subprocess.run(["unshare", "--mount", "sh", "-c", IN_TREE, "-", place.root, ROOT, folder], stdout=log,
                       stderr=log, check=True, timeout=BUILD_LIMIT)
    finally:
        place.close()


def build(suite, folder, layer):
    """Into the folder, with what lintian said; `layer` is for a machine."""
    with open(folder / "log", "wb") as log:
        try:
            if f"VERSION_CODENAME={suite}\n" in Path("/etc/os-release").read_text():
                build_here(folder, log)
            else:
                build_there(suite, folder, log, layer)
        except subprocess.CalledProcessError as error:
            raise AssertionError((folder / "log").read_text(errors="replace")[-4000:]) from error
