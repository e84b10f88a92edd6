# SPDX-License-Identifier: BSD-3-Clause
"""Ordinary programs at work: git, sqlite, tar, rsync, gcc, fio."""

import os
import random
import shutil
import sqlite3
import subprocess
import threading

import pytest

from support.process import Child

POOL_MODES = {"cached": ["dax=never"], "dax": ["dax=always"]}

GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "gc.auto=0",
       "-c", "init.defaultBranch=main", "-c", "safe.directory=*"]


def run(*command, **kwargs):
    done = subprocess.run(command, capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """Some eight hundred files of all sizes (20 MiB), links among them."""
    path = tmp_path_factory.mktemp("tree") / "tree"
    rng = random.Random(1)
    for i in range(800):
        folder = path / f"dir{i % 11}" / f"sub{i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / ("name" * rng.randrange(1, 20) + str(i))
        file.write_bytes(rng.randbytes(min(int(rng.lognormvariate(9, 2)), 3_000_000)))
        os.utime(file, (i * 1000, i * 1000))
        file.chmod(rng.choice([0o644, 0o600, 0o755, 0o444]))
    shutil.copy("/bin/bash", path / "program")
    os.symlink("program", path / "symlink")
    os.link(path / "program", path / "hardlink")
    os.mkfifo(path / "fifo")
    # rsync does not set the time of what is no file if it differs by less than a second
    for old in (path, *(each for each in path.rglob("*") if each.is_symlink() or not each.is_file())):
        os.utime(old, (1_000_000, 1_000_000), follow_symlinks=False)
    return path


def listing(path):
    return run("find", ".", "-printf", "%p %y %m %U %G %n %T@ %l\\n", cwd=path).splitlines()


def test_git(mnt):
    repository = mnt / "repository"
    run(*GIT, "init", "-q", repository)
    for round_ in range(3):
        for i in range(150):
            (repository / f"dir{i % 7}").mkdir(exist_ok=True)
            (repository / f"dir{i % 7}/file{i}").write_text(f"{round_}\n" * (i * 10))
        run(*GIT, "-C", repository, "add", "-A")
        run(*GIT, "-C", repository, "commit", "-qm", f"round {round_}")
    clone = mnt / "clone"
    run(*GIT, "clone", "-q", "--no-local", repository, clone)
    run(*GIT, "-C", clone, "gc", "-q")
    run(*GIT, "-C", clone, "fsck", "--full", "--strict")
    run(*GIT, "-C", clone, "checkout", "-q", "HEAD~2")
    assert run(*GIT, "-C", clone, "status", "--porcelain") == ""
    run(*GIT, "-C", clone, "worktree", "add", "-q", mnt / "worktree", "main")
    assert run(*GIT, "-C", mnt / "worktree", "status", "--porcelain") == ""


def test_tar(mnt, tree):
    run("tar", "-C", tree, "-cf", mnt / "tree.tar", ".")
    (mnt / "copy").mkdir()
    run("tar", "-C", mnt / "copy", "-xpf", mnt / "tree.tar")
    run("diff", "-r", "--no-dereference", "-x", "fifo", tree, mnt / "copy")
    times = [line.split(".")[0] for line in listing(tree)]
    assert sorted(times) == sorted(line.split(".")[0] for line in listing(mnt / "copy"))
    run("tar", "-C", mnt / "copy", "-df", mnt / "tree.tar")


def test_rsync(mnt, tree, pool):
    run("rsync", "-aHAX", f"{tree}/", mnt / "copy")
    pool.remount()
    assert run("rsync", "-aHAXcni", f"{tree}/", mnt / "copy") == ""
    assert sorted(listing(tree)) == sorted(listing(mnt / "copy"))
    (mnt / "copy/program").write_bytes(b"changed")
    run("rsync", "-aHAXc", "--inplace", "--delete", f"{tree}/", mnt / "copy")
    assert run("rsync", "-aHAXcni", f"{tree}/", mnt / "copy") == ""


def test_cp_and_rm(mnt, tree):
    run("cp", "-a", tree, mnt / "one")
    run("cp", "-a", "--sparse=always", mnt / "one", mnt / "two")
    assert sorted(listing(mnt / "one")) == sorted(listing(mnt / "two"))
    run("rm", "-r", mnt / "one", mnt / "two")
    assert os.listdir(mnt) == []


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_sqlite(mnt, mode):
    """Two writers and a reader, transactions, integrity."""
    path = mnt / "database"
    database = sqlite3.connect(path)
    assert database.execute(f"PRAGMA journal_mode={mode}").fetchone()[0].upper() == mode
    database.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, writer, value)")
    database.execute("CREATE INDEX by_value ON item (value)")
    database.commit()
    database.close()

    def writer(number):
        connection = sqlite3.connect(path, timeout=60)
        for i in range(40):
            with connection:
                connection.executemany("INSERT INTO item (writer, value) VALUES (?, ?)",
                                       [(number, f"{i * 7919 % 101}" * 20) for _ in range(10)])
        connection.close()

    children = [Child(writer, number) for number in range(2)]
    for child in children:
        child.result()
    database = sqlite3.connect(path)
    assert database.execute("SELECT count(*) FROM item").fetchone() == (800,)
    database.execute("DELETE FROM item WHERE id % 3 = 0")
    database.commit()
    database.execute("VACUUM")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    assert run("sqlite3", path, "SELECT count(*) FROM item") == "534\n"


def test_gcc(mnt):
    (mnt / "main.c").write_text('#include <stdio.h>\nint twice(int);\nint main(void)\n'
                                '{\n\tprintf("%d\\n", twice(21));\n\treturn 0;\n}\n')
    (mnt / "twice.c").write_text("int twice(int x)\n{\n\treturn 2 * x;\n}\n")
    run("gcc", "-g", "-c", "main.c", "twice.c", cwd=mnt)
    run("ar", "rcs", "libtwice.a", "twice.o", cwd=mnt)
    run("gcc", "-shared", "-fPIC", "-o", "libtwice.so", "twice.c", cwd=mnt)
    run("gcc", "-o", "static", "main.o", "libtwice.a", cwd=mnt)
    run("gcc", "-o", "shared", "main.o", "-L.", "-ltwice", f"-Wl,-rpath,{mnt}", cwd=mnt)
    assert run(mnt / "static") == run(mnt / "shared") == "42\n"


@pytest.mark.parametrize("engine, direct", [("psync", 0), ("psync", 1), ("mmap", 0), ("libaio", 1)])
def test_fio_verify(mnt, engine, direct):
    out = run("fio", "--name=verify", f"--directory={mnt}", f"--ioengine={engine}",
              f"--direct={direct}", "--rw=randwrite", "--bssplit=4k/60:16k/20:64k/20", "--size=8m",
              "--numjobs=2", "--verify=crc32c", "--verify_state_save=0", "--verify_fatal=1", "--do_verify=1",
              "--fallocate=none", "--group_reporting", "--iodepth=4",
              "--fsync_on_close=1", "--max_latency=0")
    assert "err= 0" in out


def test_fio_mixed_and_growing(mnt):
    out = run("fio", "--name=grow", f"--directory={mnt}", "--ioengine=psync", "--rw=write", "--bs=7000",
              "--size=6m", "--numjobs=2", "--verify=crc32c", "--verify_state_save=0", "--file_append=1", "--fsync=64")
    assert "err= 0" in out


def test_sed_vim_style_replacement(mnt):
    """Editors write a new file and rename it over the old one."""
    (mnt / "f").write_text("one\n" * 1000)
    for i in range(20):
        run("sed", "-i", f"{i + 1}s/one/two/", mnt / "f")
    assert (mnt / "f").read_text().split().count("two") == 20
    assert os.listdir(mnt) == ["f"]


def test_sort_and_shuffle(mnt):
    """Temporary files of programs."""
    lines = [f"{i * 7919 % 100_003:06}" for i in range(100_000)]
    (mnt / "in").write_text("\n".join(lines) + "\n")
    run("sort", "-S", "1M", "-T", mnt, "-o", mnt / "out", mnt / "in")
    assert (mnt / "out").read_text().split() == sorted(lines)


def test_two_loads_at_once(mnt, tree):
    errors = []

    def copy(number):
        try:
            run("cp", "-a", tree, mnt / str(number))
        except AssertionError as error:
            errors.append(error)

    threads = [threading.Thread(target=copy, args=[number]) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    run("diff", "-r", "-x", "fifo", "--no-dereference", mnt / "0", mnt / "1")
