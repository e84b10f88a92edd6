# SPDX-License-Identifier: BSD-3-Clause
"""Directories: making, removing, listing while they change."""

import os
import random
import stat
import threading

import pytest

from support.process import concurrently, fails
from support.syscalls import getdents


def names_of(fd, size=1024):
    """All names, by getdents into a small buffer."""
    names = []
    while entries := getdents(fd, size):
        names += [entry.name for entry in entries]
    return names


def test_mkdir_and_rmdir(mnt):
    before = mnt.stat().st_nlink
    os.mkdir(mnt / "d", 0o750)
    info = (mnt / "d").stat()
    assert stat.S_ISDIR(info.st_mode) and stat.S_IMODE(info.st_mode) == 0o750
    assert info.st_nlink == 2
    assert mnt.stat().st_nlink == before + 1
    with fails("EEXIST"):
        os.mkdir(mnt / "d")
    (mnt / "d/f").touch()
    with fails("ENOTEMPTY"):
        os.rmdir(mnt / "d")
    with fails("EISDIR"):
        os.unlink(mnt / "d")
    with fails("ENOTDIR"):
        os.rmdir(mnt / "d/f")
    os.unlink(mnt / "d/f")
    os.rmdir(mnt / "d")
    assert mnt.stat().st_nlink == before
    with fails("ENOENT"):
        os.rmdir(mnt / "d")


def test_dot_entries(mnt):
    (mnt / "a/b").mkdir(parents=True)
    fd = os.open(mnt / "a/b", os.O_RDONLY)
    entries = {entry.name: entry.ino for entry in getdents(fd, 4096)}
    os.close(fd)
    assert entries == {".": (mnt / "a/b").stat().st_ino, "..": (mnt / "a").stat().st_ino}
    assert os.stat(mnt / "a/b/../../a/b/.").st_ino == entries["."]
    with fails("EINVAL"):
        os.rmdir(f"{mnt}/a/b/.")
    with fails("ENOTEMPTY"):
        os.rmdir(f"{mnt}/a/b/..")


def test_types_in_listing(mnt):
    (mnt / "file").touch()
    (mnt / "dir").mkdir()
    os.symlink("x", mnt / "link")
    os.mkfifo(mnt / "fifo")
    kinds = {entry.name: entry for entry in os.scandir(mnt)}
    assert kinds["file"].is_file(follow_symlinks=False)
    assert kinds["dir"].is_dir(follow_symlinks=False)
    assert kinds["link"].is_symlink()
    fd = os.open(mnt, os.O_RDONLY)
    types = {entry.name: entry.type for entry in getdents(fd, 4096)}
    os.close(fd)
    assert types == {".": 4, "..": 4, "file": 8, "dir": 4, "link": 10, "fifo": 1}


def test_ten_thousand_entries(mnt, pool):
    names = [f"{i:x}-" * (1 + i % 9) for i in range(10_000)]
    for name in names:
        os.mknod(mnt / name)
    assert sorted(os.listdir(mnt)) == sorted(names)
    pool.remount()
    assert sorted(os.listdir(mnt)) == sorted(names)
    rng = random.Random(3)
    for name in rng.sample(names, 500):
        assert (mnt / name).stat().st_size == 0
        assert not os.path.exists(mnt / (name + "x"))
    rng.shuffle(names)
    for name in names[:9_000]:
        os.unlink(mnt / name)
    assert sorted(os.listdir(mnt)) == sorted(names[9_000:])
    for name in names[9_000:]:
        os.unlink(mnt / name)
    assert os.listdir(mnt) == []


@pytest.mark.parametrize("size", [280, 1000, 32768])
def test_listing_while_names_come_and_go(mnt, size):
    """What is there all the time comes exactly once, whatever happens beside it."""
    stay = {f"stay{i}" for i in range(700)}
    for i in range(700):
        os.mknod(mnt / f"stay{i}")
        os.mknod(mnt / f"go{i}")
    fd = os.open(mnt, os.O_RDONLY)
    seen, round_ = [], 0
    while entries := getdents(fd, size):
        seen += [entry.name for entry in entries]
        if round_ < 700:
            os.unlink(mnt / f"go{round_}")
            for i in range(3):
                os.mknod(mnt / f"come{round_}-{i}")
        round_ += 1
    os.close(fd)
    assert sorted(name for name in seen if name.startswith("stay")) == sorted(stay)
    assert len(seen) == len(set(seen))


def test_listing_while_it_is_emptied(mnt):
    """rm -r of a large directory, in small steps: nothing is skipped."""
    for i in range(2000):
        os.mknod(mnt / str(i))
    fd = os.open(mnt, os.O_RDONLY)
    while entries := getdents(fd, 512):
        for entry in entries:
            if entry.name not in (".", ".."):
                os.unlink(mnt / entry.name)
    os.close(fd)
    assert os.listdir(mnt) == []


def test_cookies_stay_valid(mnt, pool):
    """seekdir() to a cookie goes on behind its entry, after any change, also after a remount."""
    for i in range(500):
        os.mknod(mnt / f"{i}")
    fd = os.open(mnt, os.O_RDONLY)
    entries = []
    while some := getdents(fd, 400):
        entries += some
    os.close(fd)
    order = [entry.name for entry in entries]
    assert len({entry.next for entry in entries}) == len(entries)
    for i in range(500, 3000):
        os.mknod(mnt / f"{i}")
    pool.remount()
    fd = os.open(mnt, os.O_RDONLY)
    for at in (0, 1, 2, 100, 250, 498):
        os.lseek(fd, entries[at].next, os.SEEK_SET)
        rest = [name for name in names_of(fd) if name in order]
        assert rest == order[at + 1:]
    os.lseek(fd, 0, os.SEEK_SET)
    assert len(names_of(fd)) == 3002
    os.close(fd)


def test_rewind_sees_changes(mnt):
    fd = os.open(mnt, os.O_RDONLY)
    assert sorted(names_of(fd)) == [".", ".."]
    (mnt / "new").touch()
    os.lseek(fd, 0, os.SEEK_SET)
    assert sorted(names_of(fd)) == [".", "..", "new"]
    os.close(fd)


def test_concurrent_creation_and_listing(mnt):
    done = threading.Event()
    problems = []

    def lister():
        while not done.is_set():
            names = os.listdir(mnt)
            if len(names) != len(set(names)):
                problems.append(names)

    thread = threading.Thread(target=lister)
    thread.start()

    def worker(number):
        for i in range(500):
            os.mknod(mnt / f"{number}-{i}")
            if i % 3 == 0:
                os.unlink(mnt / f"{number}-{i}")

    concurrently(worker, range(4))
    done.set()
    thread.join()
    assert not problems
    assert sorted(os.listdir(mnt)) == sorted(
        f"{number}-{i}" for number in range(4) for i in range(500) if i % 3)


def test_one_name_many_creators(mnt):
    """O_EXCL lets exactly one win, each time."""
    def creator(_):
        won = []
        for i in range(300):
            try:
                os.close(os.open(mnt / str(i), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                won.append(i)
            except FileExistsError:
                pass
        return won

    winners = sorted(i for won in concurrently(creator, range(4)) for i in won)
    assert winners == list(range(300))


def test_removed_while_open(mnt):
    (mnt / "d").mkdir()
    fd = os.open(mnt / "d", os.O_RDONLY)
    os.rmdir(mnt / "d")
    with fails("ENOENT"):
        getdents(fd, 1000)
    with fails("ENOENT"):
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    with fails("ENOENT"):
        os.mkdir("d", dir_fd=fd)
    os.close(fd)


def test_deep_tree(mnt):
    path = mnt
    for i in range(100):
        path = path / f"level{i}"
    path.mkdir(parents=True)
    (path / "f").write_text("deep")
    os.rename(mnt / "level0/level1", mnt / "moved")
    assert os.path.exists(str(path).replace("level0/level1", "moved", 1) + "/f")
    assert not path.exists()


def test_many_subdirectories(mnt):
    for i in range(1000):
        (mnt / f"d{i}").mkdir()
    assert mnt.stat().st_nlink == 1002
    for i in range(1000):
        (mnt / f"d{i}").rmdir()
    assert mnt.stat().st_nlink == 2


def test_directory_times(mnt):
    (mnt / "d").mkdir()
    os.utime(mnt / "d", ns=(1, 1))
    (mnt / "d/f").touch()
    after = (mnt / "d").stat()
    assert after.st_mtime_ns > 1 and after.st_ctime_ns > 1
    os.utime(mnt / "d", ns=(1, 1))
    (mnt / "d/f").unlink()
    assert (mnt / "d").stat().st_mtime_ns > 1


def test_read_and_write_are_refused(mnt):
    fd = os.open(mnt, os.O_RDONLY)
    with fails("EISDIR"):
        os.read(fd, 10)
    os.close(fd)
    with fails("EISDIR"):
        os.truncate(mnt, 0)
