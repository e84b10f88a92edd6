# SPDX-License-Identifier: BSD-3-Clause
"""Programs of others, whose files are mapped directly."""

import shutil
import subprocess
import sys

import pytest

from support.pool import MIB

UNIT = 2 * MIB


def needs(name):
    return pytest.mark.skipif(not shutil.which(name), reason=f"needs {name}")


def test_python(run, mnt):
    script = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 8 << 20)
with mmap.mmap(fd, 8 << 20) as memory:
    memory[3 << 20] = 7
    memory[0:5] = b"hello"
    memory.flush()
    assert memory.find(b"hello") == 0
    memory.resize(16 << 20)
    memory[15 << 20] = 8
    memory.madvise(mmap.MADV_HUGEPAGE)
print(os.pread(fd, 1, 3 << 20)[0], os.pread(fd, 1, 15 << 20)[0], os.fstat(fd).st_size)
"""
    done = run(sys.executable, "-c", script, mnt / "file").check()
    assert done.out == f"7 8 {16 * MIB}\n"
    assert sum(mapping["huge"] for mapping in done.mappings) >= 16 * MIB


@needs("sqlite3")
def test_sqlite(run, mnt):
    base = mnt / "base"
    done = run("sqlite3", base, """
        pragma journal_mode = wal;
        pragma mmap_size = 268435456;
        create table t (a integer primary key, b text);
        with recursive n (i) as (select 1 union all select i + 1 from n where i < 20000)
            insert into t select i, hex(randomblob(100)) from n;
        update t set b = b || 'x' where a % 3 = 0;
        select count(*), sum(length(b)) from t;
        pragma wal_checkpoint(truncate);
        vacuum;
        select count(*), sum(length(b)) from t;
        pragma integrity_check;""").check()
    lines = done.out.splitlines()
    assert lines[-1] == "ok"
    assert lines.count("20000|4006666") == 2
    names = {mapping["path"].split("/")[-1].removesuffix(" (deleted)") for mapping in done.mappings}
    assert {"base", "base-shm"} <= names
    # and others see the same
    plain = run("sqlite3", base, "select count(*), sum(length(b)) from t; pragma integrity_check;",
                direct=False).check()
    assert plain.out == "20000|4006666\nok\n"


@needs("git")
def test_git(run, mnt):
    """git maps privately: that is the kernel's."""
    def git(*args):
        return run("git", "-C", mnt, "-c", "user.name=n", "-c", "user.email=e@x", *args).check().out
    git("init", "-q")
    for i in range(50):
        (mnt / f"f{i}").write_text(f"{i}\n" * 1000)
    git("add", ".")
    git("commit", "-qm", "first")
    (mnt / "f7").write_text("changed\n")
    git("commit", "-qam", "second")
    git("gc", "-q")
    git("fsck", "--strict")
    assert git("log", "--format=%s").split() == ["second", "first"]


@needs("fio")
@pytest.mark.parametrize("jobs", [1, 4])
def test_fio(run, mnt, jobs):
    done = run("fio", "--name=verify", f"--directory={mnt}", "--size=32M", "--ioengine=mmap",
               "--rw=randwrite", "--bs=4k", "--verify=crc32c", "--do_verify=1", "--thread",
               f"--numjobs={jobs}", "--verify_fatal=1", f"--aux-path={mnt}").check()
    assert "err= 0" in done.out
    assert sum(mapping["huge"] for mapping in done.mappings) >= 32 * MIB * jobs


def test_executables(run, mnt):
    """A program that lies there is executed, with its libraries, and may map itself."""
    copy = mnt / "cat"
    shutil.copy("/bin/cat", copy)
    (mnt / "text").write_text("text")
    assert run(copy, mnt / "text").check().out == "text"


def test_without_dax(run, pool, mnt, bin_dir):
    """Files without the flag go through the page cache, with the same calls."""
    pool.remount("dax=never")
    try:
        done = run(sys.executable, "-c", """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 4 << 20)
memory = mmap.mmap(fd, 4 << 20)
memory[0:5] = b"hello"
memory.flush()
print(os.pread(fd, 5, 0))
""", mnt / "file").check()
        assert done.out == "b'hello'\n"
        assert not done.mappings
    finally:
        pool.remount("dax=always")


def test_large(run, mnt):
    """Whole units, each with one fault at most."""
    path = mnt / "large"
    subprocess.run(["fallocate", "-l", str(64 * MIB), path], check=True)
    done = run(sys.executable, "-c", """
import mmap, os, resource, sys
fd = os.open(sys.argv[1], os.O_RDWR)
memory = mmap.mmap(fd, 64 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
memory[:] = b"\\1" * len(memory)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
""", path).check()
    assert done.mappings[0]["huge"] == 64 * MIB
