# SPDX-License-Identifier: BSD-3-Clause
"""rename() and renameat2() with all their flags."""

import os
import random
import stat

import pytest

from support.process import concurrently, fails
from support.syscalls import (RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, renameat2)


def test_plain(mnt):
    (mnt / "a").write_text("a")
    os.rename(mnt / "a", mnt / "b")
    assert os.listdir(mnt) == ["b"] and (mnt / "b").read_text() == "a"
    (mnt / "d").mkdir()
    os.rename(mnt / "b", mnt / "d/c")
    assert os.listdir(mnt) == ["d"] and (mnt / "d/c").read_text() == "a"
    with fails("ENOENT"):
        os.rename(mnt / "missing", mnt / "x")


def test_replaces(mnt):
    (mnt / "a").write_text("a")
    (mnt / "b").write_text("b")
    held = os.open(mnt / "b", os.O_RDONLY)
    os.rename(mnt / "a", mnt / "b")
    assert (mnt / "b").read_text() == "a"
    assert os.pread(held, 10, 0) == b"b" and os.fstat(held).st_nlink == 0
    os.close(held)


def test_directories(mnt):
    (mnt / "a/below").mkdir(parents=True)
    (mnt / "b").mkdir()
    (mnt / "f").touch()
    with fails("EISDIR"):
        os.rename(mnt / "f", mnt / "b")
    with fails("ENOTDIR"):
        os.rename(mnt / "b", mnt / "f")
    with fails("ENOTEMPTY"):
        os.rename(mnt / "b", mnt / "a")
    os.rename(mnt / "a", mnt / "b")
    assert sorted(os.listdir(mnt)) == ["b", "f"] and os.listdir(mnt / "b") == ["below"]
    assert mnt.stat().st_nlink == 3


def test_not_below_itself(mnt):
    (mnt / "a/b/c").mkdir(parents=True)
    for target in ("a/x", "a/b/x", "a/b/c/x"):
        with fails("EINVAL"):
            os.rename(mnt / "a", mnt / target)
    with fails("ENOTEMPTY"):
        os.rename(mnt / "a/b/c", mnt / "a")


def test_parent_and_link_counts(mnt):
    (mnt / "from/dir").mkdir(parents=True)
    (mnt / "to").mkdir()
    os.rename(mnt / "from/dir", mnt / "to/dir")
    assert (mnt / "from").stat().st_nlink == 2 and (mnt / "to").stat().st_nlink == 3
    assert os.stat(mnt / "to/dir/..").st_ino == (mnt / "to").stat().st_ino


def test_to_itself_and_to_a_link_of_itself(mnt):
    (mnt / "a").write_text("a")
    os.rename(mnt / "a", mnt / "a")
    os.link(mnt / "a", mnt / "b")
    os.rename(mnt / "a", mnt / "b")
    assert sorted(os.listdir(mnt)) == ["a", "b"]
    assert (mnt / "a").stat().st_nlink == 2


def test_symlinks_are_not_followed(mnt):
    (mnt / "f").write_text("f")
    os.symlink("f", mnt / "s")
    os.rename(mnt / "s", mnt / "t")
    assert os.readlink(mnt / "t") == "f"
    (mnt / "g").write_text("g")
    os.rename(mnt / "g", mnt / "t")
    assert (mnt / "t").read_text() == "g" and (mnt / "f").read_text() == "f"


def test_times(mnt):
    (mnt / "d").mkdir()
    (mnt / "f").touch()
    for path in (mnt, mnt / "d", mnt / "f"):
        os.utime(path, ns=(1, 1))
    before = (mnt / "f").stat().st_ctime_ns
    os.rename(mnt / "f", mnt / "d/f")
    assert mnt.stat().st_mtime_ns > 1 and (mnt / "d").stat().st_mtime_ns > 1
    after = (mnt / "d/f").stat()
    assert after.st_mtime_ns == 1 and after.st_ctime_ns > before


def test_long_and_short_names(mnt):
    (mnt / "a").write_text("kept")
    for i in range(1, 256, 7):
        os.rename(mnt / os.listdir(mnt)[0], mnt / ("n" * i))
    assert len(os.listdir(mnt)) == 1
    assert (mnt / os.listdir(mnt)[0]).read_text() == "kept"


def test_noreplace(mnt):
    (mnt / "a").write_text("a")
    (mnt / "b").write_text("b")
    with fails("EEXIST"):
        renameat2(mnt / "a", mnt / "b", RENAME_NOREPLACE)
    with fails("EEXIST"):
        renameat2(mnt / "a", mnt / "a", RENAME_NOREPLACE)
    renameat2(mnt / "a", mnt / "c", RENAME_NOREPLACE)
    assert (mnt / "b").read_text() == "b" and (mnt / "c").read_text() == "a"


def test_exchange_files(mnt):
    (mnt / "d").mkdir()
    (mnt / "a").write_text("a")
    (mnt / "d/b").write_text("b")
    renameat2(mnt / "a", mnt / "d/b", RENAME_EXCHANGE)
    assert (mnt / "a").read_text() == "b" and (mnt / "d/b").read_text() == "a"
    with fails("ENOENT"):
        renameat2(mnt / "a", mnt / "missing", RENAME_EXCHANGE)


def test_exchange_file_and_directory(mnt):
    (mnt / "one/dir/below").mkdir(parents=True)
    (mnt / "two").mkdir()
    (mnt / "two/file").write_text("file")
    renameat2(mnt / "one/dir", mnt / "two/file", RENAME_EXCHANGE)
    assert (mnt / "one/dir").read_text() == "file"
    assert os.listdir(mnt / "two/file") == ["below"]
    assert (mnt / "one").stat().st_nlink == 2 and (mnt / "two").stat().st_nlink == 3
    assert os.stat(mnt / "two/file/..").st_ino == (mnt / "two").stat().st_ino


def test_exchange_in_one_directory(mnt):
    (mnt / "a").mkdir()
    (mnt / "b").write_text("b")
    before = mnt.stat().st_nlink
    renameat2(mnt / "a", mnt / "b", RENAME_EXCHANGE)
    assert (mnt / "a").read_text() == "b" and (mnt / "b").is_dir()
    assert mnt.stat().st_nlink == before


def test_exchange_not_below_itself(mnt):
    (mnt / "a/b/c").mkdir(parents=True)
    with fails("EINVAL"):
        renameat2(mnt / "a", mnt / "a/b/c", RENAME_EXCHANGE)
    with fails("EINVAL"):
        renameat2(mnt / "a/b/c", mnt / "a", RENAME_EXCHANGE)


def test_whiteout(mnt, pool):
    """The old name becomes a character device 0:0, as overlayfs wants it."""
    (mnt / "d").mkdir()
    (mnt / "a").write_text("a")
    renameat2(mnt / "a", mnt / "d/b", RENAME_WHITEOUT)
    (mnt / "e").write_text("e")
    renameat2(mnt / "e", mnt / "d/b", RENAME_WHITEOUT)
    pool.remount()
    assert (mnt / "d/b").read_text() == "e"
    for name in ("a", "e"):
        info = (mnt / name).lstat()
        assert stat.S_ISCHR(info.st_mode) and info.st_rdev == 0 and info.st_nlink == 1
    (mnt / "f").write_text("f")
    renameat2(mnt / "f", mnt / "g", RENAME_WHITEOUT | RENAME_NOREPLACE)
    assert (mnt / "g").read_text() == "f"


@pytest.mark.parametrize("flags", [
    RENAME_EXCHANGE | RENAME_NOREPLACE, RENAME_EXCHANGE | RENAME_WHITEOUT, 0x80])
def test_wrong_flags(mnt, flags):
    (mnt / "a").touch()
    (mnt / "b").touch()
    with fails("EINVAL"):
        renameat2(mnt / "a", mnt / "b", flags)


def test_target_is_never_missing(mnt):
    """While one process replaces a file over and over, another always finds it whole."""
    (mnt / "f").write_bytes(b"0" * 1000)

    def replace():
        for i in range(400):
            (mnt / "new").write_bytes(b"%d" % (i % 10) * 1000)
            os.rename(mnt / "new", mnt / "f")

    def read():
        for _ in range(800):
            content = (mnt / "f").read_bytes()
            if len(content) != 1000 or len(set(content)) != 1:
                return content
        return None

    assert concurrently(lambda work: work(), [replace, read, read]) == [None] * 3


def test_storm_between_directories(mnt):
    """Directories and files moved about by several processes: nothing is lost, no cycle arises."""
    for i in range(6):
        (mnt / f"d{i}").mkdir()
        (mnt / f"file{i}").write_text(str(i))

    def mover(seed):
        rng = random.Random(seed)
        for _ in range(400):
            found = [os.path.join(top, name) for top, dirs, files in os.walk(mnt)
                     for name in dirs + files]
            source = rng.choice(found or [mnt])
            target = rng.choice([str(mnt)] + [path for path in found if "/d" in path[-3:]])
            flags = rng.choice([0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE])
            if flags == RENAME_EXCHANGE:
                new = rng.choice(found or [mnt])
            else:
                new = os.path.join(target, os.path.basename(source))
            try:
                renameat2(source, new, flags)
            except OSError as error:
                if error.errno not in (2, 17, 20, 21, 22, 39, 18, 116):
                    raise

    concurrently(mover, range(3))
    found = [name for _, dirs, files in os.walk(mnt) for name in dirs + files]
    contents = sorted(open(os.path.join(top, name)).read()
                      for top, _, files in os.walk(mnt) for name in files)
    assert len(found) == 12 and contents == list("012345")
    for top, dirs, _ in os.walk(mnt):
        assert os.stat(top).st_nlink == 2 + len(dirs)
