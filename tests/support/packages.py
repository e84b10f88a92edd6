# SPDX-License-Identifier: BSD-3-Clause
"""Programs of packages that are wanted for a test and not installed: no service of theirs is started."""

import os
import subprocess
from pathlib import Path

CACHE = Path(os.environ.get("DAXFUSE_TEST_CACHE", "/var/cache/daxfuse-tests"))


def unpacked(package):
    """The package's tree, from the system's own sources; downloaded once."""
    tree = CACHE / package
    if not tree.exists():
        folder = CACHE / f"{package}.{os.getpid()}"
        folder.mkdir(parents=True)
        subprocess.run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package],
                       cwd=folder, check=True)
        (file,) = folder.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", file, folder / "tree"], check=True)
        file.unlink()
        try:
            (folder / "tree").rename(tree)
        except OSError:  # another one was faster
            assert tree.exists()
    return tree
