# SPDX-License-Identifier: BSD-3-Clause
"""libdaxmap as a library, as it is built and as it is installed; daxfuse run itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.pool import MIB

HERE = Path(__file__).resolve().parent
NOBODY = 65534


@pytest.fixture(scope="session")
def installed(bin_dir, tmp_path_factory):
    """Where all of it is installed."""
    prefix = tmp_path_factory.mktemp("installed")
    subprocess.run(["cmake", "--install", bin_dir.parent, "--prefix", prefix], check=True,
                   capture_output=True, env={**os.environ, "DESTDIR": ""})
    return prefix


def test_library(bin_dir, file, tmp_path):
    program = tmp_path / "library"
    lib = bin_dir.parent / "lib"
    subprocess.run(["cc", "-g", "-o", program, HERE / "library.c", f"-I{HERE.parents[1]}/include",
                    f"-L{lib}", "-ldaxmap", f"-Wl,-rpath,{lib}"], check=True)
    done = subprocess.run([program, file], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_installed(installed, file, tmp_path):
    """The names that a program is compiled and linked with, and the preload beside the binary."""
    (lib,) = installed.glob("**/libdaxmap.so.0")
    (pc,) = installed.glob("**/daxmap.pc")
    assert "-ldaxmap" in pc.read_text()
    program = tmp_path / "library"
    subprocess.run(["cc", "-o", program, HERE / "library.c", f"-I{installed}/include",
                    f"-L{lib.parent}", "-ldaxmap"], check=True)
    done = subprocess.run([program, file], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "LD_LIBRARY_PATH": str(lib.parent)})
    assert done.returncode == 0, done.stderr
    done = subprocess.run([installed / "bin" / "daxfuse", "run", "sh", "-c", "echo $LD_PRELOAD"],
                          capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(lib.parent / "daxfuse/libdaxmap-preload.so")


def test_exports(bin_dir):
    """Nothing but the documented names, and what the preload needs."""
    out = subprocess.run(["nm", "-D", "--defined-only", bin_dir.parent / "lib" / "libdaxmap.so"],
                         capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1].split("@")[0] for line in out.splitlines()}
    header = (HERE.parents[1] / "include/daxfuse/daxmap.h").read_text()
    public = {name for name in names if name.startswith("dxm_") and "preload" not in name}
    assert public and all(f"{name}(" in header for name in public)
    assert all(name.startswith(("dxm_", "DAXMAP_")) for name in names)


def test_run_passes_on(bin_dir):
    """Arguments, environment and exit status are the program's."""
    run = [bin_dir / "daxfuse", "run"]
    done = subprocess.run([*run, "sh", "-c", 'echo "$0 $1 $POSIXLY_CORRECT."; exit 7', "a", "-v"],
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (7, "a -v .\n")
    assert subprocess.run([*run, "--", "/nowhere"], capture_output=True).returncode == 127
    assert subprocess.run([*run, "/etc/passwd"], capture_output=True).returncode == 126
    assert subprocess.run(run, capture_output=True).returncode == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_no_permission(run, file):
    """A program that may not have the device has the kernel's mapping."""
    file.chmod(0o666)
    done = run(sys.executable, "-c", """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
memory = mmap.mmap(fd, 8 << 20)
memory[1 << 20] = 7
memory.flush()
print(os.pread(fd, 1, 1 << 20))
""", file, user=NOBODY, group=NOBODY, extra_groups=[]).check()
    assert done.out == "b'\\x07'\n"
    assert not done.mappings

# In a namespace of mounts of its own, where all may make mounts for all; $1: the image, $2: the mount
# point, $3: the program daxfuse; $4: whose mount it is, $5: who maps.
OF_ANOTHER_USER = r"""
set -e
mount --make-rprivate /
echo user_allow_other >"$2.conf"; mount --bind "$2.conf" /etc/fuse.conf
as() { user=$1; shift; setpriv --reuid "$user" --regid "$user" --clear-groups "$@"; }
as "$4" "$3" "$1" "$2" -o allow_other,direct=all
trap 'umount "$2"' EXIT
as "$4" sh -c 'truncate -s 4M "$1"/f; chmod 666 "$1"/f' - "$2"
as "$5" "$3" run -v -- /usr/bin/python3 -c '
import mmap, os, sys
mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 0)[0]' "$2/f"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs other users")
@pytest.mark.parametrize("length", [0, 4000])
def test_a_mount_of_another_user(bin_dir, huge_dir, length):
    """The table of mounts says whose it is, in a line of any length."""
    folder = huge_dir / "of-another"
    while len(str(folder)) < length:
        folder /= "y" * min(100, length - len(str(folder)))
    try:
        (folder / "mnt").mkdir(parents=True)
        with open(folder / "pool", "wb") as file:
            file.truncate(64 * MIB)
        for path in (folder / "pool", folder / "mnt"):
            os.chown(path, NOBODY, NOBODY)
        subprocess.run([bin_dir / "mkfs.daxfuse", "-q", folder / "pool"], check=True, user=NOBODY)
        done = subprocess.run(["unshare", "--mount", "sh", "-c", OF_ANOTHER_USER, "-", folder / "pool",
                               folder / "mnt", bin_dir / "daxfuse", str(NOBODY), "65532"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "daxmap: " in done.stderr and "through the kernel" not in done.stderr, done.stderr
    finally:
        shutil.rmtree(huge_dir / "of-another")
