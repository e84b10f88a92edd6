# SPDX-License-Identifier: BSD-3-Clause
"""
A newcomer's first steps: a mount without options, and programs under `daxfuse run`. What they map is the
device's memory, in huge pages; what is not, is said in one line with what to do.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest

from support.pool import MIB, Pool
from support.process import USER


@pytest.fixture(scope="module")
def pool(bin_dir, huge_dir):
    with Pool(bin_dir, huge_dir / "daxmap-default", size=512 * MIB) as pool:
        pool.mount()
        yield pool


HOW = {
    "made": "fd = os.open(path, os.O_RDWR | os.O_CREAT); os.ftruncate(fd, 32 << 20)",
    "written before": "open(path, 'wb').write(b'x' * (32 << 20)); fd = os.open(path, os.O_RDWR)",
    "made by another": "subprocess.run(['truncate', '-s', '32M', path]); fd = os.open(path, os.O_RDWR)",
    "read before": "open(path, 'wb').write(b'x' * (32 << 20)); open(path, 'rb').read();"
                   "fd = os.open(path, os.O_RDWR)",
    "nameless": "fd = os.open(os.path.dirname(path), os.O_RDWR | os.O_TMPFILE);"
                "os.ftruncate(fd, 32 << 20)",
    "by stdio": "file = open(path, 'w+b'); file.truncate(32 << 20); fd = file.fileno()",
}


@pytest.mark.parametrize("how", HOW)
def test_any_file_that_a_program_makes(run, mnt, how):
    done = run(sys.executable, "-c", f"""
import mmap, os, resource, subprocess, sys
path = sys.argv[1]
{HOW[how]}
memory = mmap.mmap(fd, 32 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for at in range(0, 32 << 20, 4096):
    memory[at] = 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
assert os.pread(fd, 1, 4096) == b"\\1"
""", mnt / "file").check()
    assert done.mappings[0]["huge"] == 32 * MIB
    assert int(done.out) <= 64, "one fault for 2 MiB, and those of the interpreter"


@pytest.mark.skipif(not shutil.which("fio"), reason="fio is not installed")
@pytest.mark.parametrize("rw", ["write", "read", "randrw"])
def test_fio(run, mnt, rw):
    done = run("fio", "--name=first", f"--directory={mnt}", "--size=32M", "--ioengine=mmap", f"--rw={rw}",
               "--bs=4k", "--thread", f"--aux-path={mnt}").check()
    assert "err= 0" in done.out
    assert sum(mapping["huge"] for mapping in done.mappings) >= 32 * MIB


# ---- why it is not

def said(pool, *code, path, user=None):
    """What `daxfuse run -v` says of a program that maps the file."""
    program = "\n".join(["import mmap, os, sys", *code])
    done = subprocess.run([pool.bin_dir / "daxfuse", "run", "-v", "--", sys.executable, "-c", program, path],
                          capture_output=True, text=True, timeout=60, user=user)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("daxmap: ")]


WRITES = "fd = os.open(sys.argv[1], os.O_RDWR); mmap.mmap(fd, 0)[0]"
READS = "fd = os.open(sys.argv[1], os.O_RDONLY); mmap.mmap(fd, 0, prot=mmap.PROT_READ)[0]"
PRIVATE = "fd = os.open(sys.argv[1], os.O_RDONLY); mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE)[0]"


def human(pool, command, path):
    return pool.run("daxfuse", command, "-u", path)


def test_read_through_the_cache(pool, mnt):
    path = mnt / "small"
    path.write_bytes(b"x" * 8192)
    lines = said(pool, READS, path=path)
    assert len(lines) == 1 and "through the kernel" in lines[0], lines
    assert "open it for reading and writing" in lines[0]
    with open(path, "rb") as reader:
        reader.read()
        assert "nobody have it open" in said(pool, WRITES, path=path)[0]
        assert "not mapped directly: others read it through the page cache" in human(pool, "map", path)
    assert "not mapped directly" not in human(pool, "map", path)
    assert re.search(r"pages 8192", said(pool, WRITES, path=path)[0])
    assert re.search(r"not mapped directly: \d+ requests for files that are read through",
                     human(pool, "status", pool.point))


def test_private(pool, mnt):
    path = mnt / "file"
    path.write_bytes(b"x" * 8192)
    assert "map it MAP_SHARED" in said(pool, PRIVATE, path=path)[0]


def test_files_of_others(pool, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 8192)
    assert not said(pool, WRITES, PRIVATE, path=path)


@pytest.mark.parametrize("mode, advice", [("never", "mount it with dax=auto"), ("inode", "chattr +x")])
def test_the_mode_of_the_mount(pool, mode, advice):
    pool.remount(f"dax={mode}")
    try:
        path = pool.point / "file"
        path.write_bytes(b"x" * 4 * MIB)
        assert "daxfuse map -u" in said(pool, WRITES, path=path)[0]
        assert advice in human(pool, "map", path)
        assert "requests for files that may not be mapped directly" in human(pool, "status", pool.point)
        if mode == "inode":
            os.unlink(path)
            subprocess.run(["chattr", "+x", pool.point], check=True)
            path.write_bytes(b"x" * 4 * MIB)
            assert "huge 4194304" in said(pool, WRITES, path=path)[0]
            subprocess.run(["chattr", "-x", pool.point], check=True)
        path.unlink()
    finally:
        pool.umount()
        pool.mount()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
@pytest.mark.parametrize("options", [["direct=off"], ["direct=owner"]])
def test_the_policy(pool, options):
    pool.remount(*options)
    try:
        path = pool.point / "file"
        path.write_bytes(b"x" * 4 * MIB)
        path.chmod(0o666)
        user = USER if options == ["direct=owner"] else None
        assert "see direct= in daxfuse(8)" in said(pool, WRITES, path=path, user=user)[0]
        path.unlink()
    finally:
        pool.umount()
        pool.mount()
