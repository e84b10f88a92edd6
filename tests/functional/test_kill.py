# SPDX-License-Identifier: BSD-3-Clause
"""
SIGKILL of the daemon under load, and mounting again: what was acknowledged is
there, and fsck is clean. DAXFUSE_KILLS=100 kills as often.
"""

import os
import random
import sqlite3
import subprocess
import time

import pytest

from support.pool import MIB, is_mounted
from support.process import Child

KILLS = int(os.environ.get("DAXFUSE_KILLS", 3))

# Nobody starts another daemon when this one dies; tests/restart is about those who do.
ALONE = ("-o", "keeper=none")

# The kernel answers these while no daemon lives (125: io_uring).
GONE = (103, 107, 5, 125)


def block(number, seed):
    return random.Random(number * 1000 + seed).randbytes(4096)


def writer(folder, log, seed):
    """Writes, appends, renames; a line in `log` for each that was acknowledged."""
    rng = random.Random(seed)
    number = 0
    with open(log, "a", buffering=1) as acknowledged:
        try:
            while True:
                number += 1
                path = f"{folder}/{seed}-{number}"
                with open(path, "wb", buffering=0) as out:
                    out.write(block(number, seed))
                    size = 1
                    acknowledged.write(f"{path} 1 {number}\n")
                    while rng.random() < 0.6:
                        out.write(block(number, seed))
                        size += 1
                        acknowledged.write(f"{path} {size} {number}\n")
                if rng.random() < 0.5:
                    acknowledged.write(f"{path} ? {number}\n")
                    os.rename(path, path + "r")
                    acknowledged.write(f"{path}r {size} {number}\n")
                    path += "r"
                if rng.random() < 0.3:
                    acknowledged.write(f"{path} ? {number}\n")
                    os.unlink(path)
                    acknowledged.write(f"{path} - {number}\n")
        except OSError as error:
            assert error.errno in GONE, error


def check_writer(log, seed):
    """Every acknowledged block is there, everything removed is gone."""
    state = {}
    for line in log.read_text().splitlines():
        path, what, number = line.split()
        state[path] = (what, int(number))
    for path, (what, number) in state.items():
        if what == "?":
            continue
        if what == "-":
            assert not os.path.exists(path), path
            continue
        content = open(path, "rb").read()
        assert len(content) % 4096 == 0 and len(content) >= int(what) * 4096, path
        assert content == block(number, seed) * (len(content) // 4096), path
    return len(state)


def overwriter(folder, log, seed):
    """Overwrites blocks in place, each with a number that only grows."""
    fd = os.open(f"{folder}/overwritten{seed}", os.O_RDWR | os.O_CREAT)
    with open(log, "a", buffering=1) as acknowledged:
        try:
            for number in range(1, 1_000_000):
                place = number * 7919 % 700
                os.pwrite(fd, number.to_bytes(8, "little") * 512, place * 4096)
                acknowledged.write(f"{place} {number}\n")
        except OSError as error:
            assert error.errno in GONE, error


def check_overwriter(folder, log, seed):
    newest = {}
    for line in log.read_text().splitlines():
        place, number = map(int, line.split())
        newest[place] = number
    with open(f"{folder}/overwritten{seed}", "rb") as file:
        for place, number in newest.items():
            file.seek(place * 4096)
            content = file.read(4096)
            words = {int.from_bytes(content[at:at + 8], "little") for at in range(0, 4096, 8)}
            # The write under way when the daemon died may have arrived in part.
            assert min(words) >= number and len(words) <= 2, place
    return len(newest)


def database_user(path, log):
    """One row a transaction, logged when it was committed."""
    with open(log, "a", buffering=1) as acknowledged:
        try:
            connection = sqlite3.connect(path)
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, value)")
            while True:
                with connection:
                    row = connection.execute("INSERT INTO item (value) VALUES (?)",
                                             ["x" * 500]).lastrowid
                acknowledged.write(f"{row}\n")
        except sqlite3.Error:
            pass


def check_database(path, log):
    rows = [int(line) for line in log.read_text().split()]
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    have = {row for (row,) in connection.execute("SELECT id FROM item")}
    connection.close()
    assert set(rows) <= have
    return len(rows)


def git_user(folder):
    """Commits until the daemon is gone."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "gc.auto=0",
           "-c", "safe.directory=*"]
    repository = f"{folder}/repository"
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for i in range(100_000):
        try:
            for j in range(5):
                with open(f"{repository}/{j}", "w") as out:
                    out.write(f"{i}\n" * 100)
        except OSError:
            return i
        done = subprocess.run([*git, "-C", repository, "add", "-A"], **quiet)
        done = done.returncode or subprocess.run([*git, "-C", repository, "commit", "-qm", str(i)],
                                                 **quiet).returncode
        if done:
            return i
    return None


def check_git(folder):
    """Not damaged. (A lock file of the killed call may be left, as after any crash.)"""
    repository = f"{folder}/repository"
    git = ["git", "-c", "safe.directory=*", "-C", repository]
    done = subprocess.run([*git, "fsck", "--full"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("option", ["dax=never", "dax=always"])
def test_killed_under_load(make_pool, option):
    """Four kinds of load, on a pool that lives through all the kills."""
    rng = random.Random(option)
    pool = make_pool(512 * MIB)
    logs = pool.folder
    checked = 0
    for round_ in range(KILLS):
        mnt = pool.mount(option)
        folder = mnt / f"round{round_}"
        folder.mkdir()
        subprocess.run(["git", "init", "-q", folder / "repository"], check=True)
        paths = [logs / f"{kind}{round_}" for kind in "abcd"]
        children = [
            Child(writer, folder, paths[0], 1), Child(writer, folder, paths[1], 2),
            Child(overwriter, folder, paths[2], 3), Child(database_user, folder / "db", paths[3]),
            Child(git_user, folder)]
        time.sleep(rng.uniform(0.4, 1.2))
        pool.kill()
        for child in children:
            child.result()
        pool.fsck()
        pool.mount(option)
        checked += check_writer(paths[0], 1) + check_writer(paths[1], 2)
        checked += check_overwriter(folder, paths[2], 3) + check_database(folder / "db", paths[3])
        check_git(folder)
        subprocess.run(["rm", "-r", folder], check=True)
        pool.umount()
    assert checked > 20 * KILLS


def test_killed_while_fio_writes(make_pool):
    """fio's own record of what was acknowledged, verified after the kill."""
    pool = make_pool(256 * MIB)
    mnt = pool.mount()
    for round_ in range(max(1, KILLS // 3)):
        path = mnt / f"fio{round_}"
        job = ["fio", "--name=load", f"--filename={path}", "--rw=randwrite", "--bs=4k", "--size=64m",
               "--ioengine=psync", "--verify=crc32c", "--fallocate=none", f"--aux-path={pool.folder}"]
        path.touch()
        os.truncate(path, 64 * MIB)
        load = subprocess.Popen([*job, "--do_verify=0", "--verify_state_save=1"], cwd=pool.folder,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while path.stat().st_blocks < 10_000:
            assert load.poll() is None
            time.sleep(0.01)
        pool.kill()
        assert load.wait(120) != 0
        pool.fsck()
        pool.mount()
        (state,) = pool.folder.glob("*verify.state")
        done = subprocess.run([*job, "--verify_only", "--verify_state_load=1"], capture_output=True,
                              text=True, cwd=pool.folder)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "err= 0" in done.stdout and path.stat().st_blocks >= 10_000
        state.unlink()
        path.unlink()


def test_killed_while_mounting(make_pool):
    """Recovery that is cut off is simply done again."""
    pool = make_pool(64 * MIB)
    mnt = pool.mount()
    (mnt / "f").write_bytes(b"x" * MIB)
    pool.kill()
    for delay in (0, 1, 2, 4, 8, 16, 30):
        daemon = subprocess.Popen([pool.bin_dir / "daxfuse", pool.image, mnt, "-f", *ALONE],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay / 1000)
        daemon.kill()
        daemon.wait()
        if is_mounted(mnt):
            pool.detach()
    pool.mount()
    assert (mnt / "f").read_bytes() == b"x" * MIB


def test_killed_right_after_mounting(make_pool):
    """A daemon that asks its own mount can't be killed just then, and all who look at it hang."""
    pool = make_pool(16 * MIB)
    for i in range(40):
        daemon = subprocess.Popen([pool.bin_dir / "daxfuse", pool.image, pool.point, "-f",
                                   *ALONE])
        while not is_mounted(pool.point):
            assert daemon.poll() is None
        time.sleep(i % 10 / 2000)
        daemon.kill()
        daemon.wait(60)
        pool.detach()


def test_programs_see_an_error_not_a_hang(make_pool):
    pool = make_pool()
    mnt = pool.mount("keeper=none")
    fd = os.open(mnt / "f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"x")
    child = Child(writer, mnt, pool.folder / "log2", 1)
    time.sleep(0.2)
    pool.daemon.kill()
    pool.daemon.wait()
    with pytest.raises(OSError) as error:
        os.fsync(fd)
        os.stat(mnt / "other")
    assert error.value.errno in GONE
    child.result()
    os.close(fd)
    pool.daemon = None
    pool.detach()
    pool.mount()
    assert (mnt / "f").read_bytes() == b"x"
