# SPDX-License-Identifier: BSD-3-Clause
"""Project quotas: limits of a tree, enforced and shown."""

import json
import os
import shutil

import pytest

from support.pool import MIB
from support.process import eventually, fails
from support.syscalls import fallocate, set_xflags, get_xflags

PROJECT = 100


@pytest.fixture
def tree(mnt, pool):
    """A folder limited to 8 MiB and 50 inodes; what is in it is given back at the end."""
    path = mnt / "tree"
    path.mkdir()
    pool.run("daxfuse", "quota", path, PROJECT, "--assign", "--bytes", "8M", "--inodes", "50")
    assert eventually(lambda: used(pool)["inodes"], 1) == 1
    return path


def used(pool):
    return json.loads(pool.run("daxfuse", "quota", pool.point, PROJECT))


def fill(path, step=MIB):
    """Write until it fails; how much fitted."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    done = 0
    try:
        while True:
            done += os.write(fd, b"x" * step)
    except OSError as error:
        assert error.errno == 122, error
    finally:
        os.close(fd)
    return done


def test_use_is_counted(tree, pool):
    assert used(pool)["inodes"] == 1
    for i in range(5):
        (tree / str(i)).write_bytes(b"x" * 100_000)
    assert used(pool)["inodes"] == 6
    assert 500_000 <= used(pool)["bytes"] <= 700_000
    pool.remount()
    assert used(pool)["inodes"] == 6
    for i in range(5):
        (tree / str(i)).unlink()
    assert eventually(lambda: used(pool)["inodes"], 1) == 1
    assert used(pool)["bytes"] <= 16384


@pytest.mark.parametrize("step", [1000, 4096, 100_000, MIB])
def test_bytes_are_limited(tree, pool, step):
    done = fill(tree / "f", step)
    # What does not fit: less than a whole unit and the file's tables.
    assert 5 * MIB <= done <= 8 * MIB
    assert (tree / "f").stat().st_size == done
    assert (tree / "f").read_bytes() == b"x" * done
    assert used(pool)["bytes"] <= 8 * MIB
    with fails("EDQUOT"):
        (tree / "g").write_bytes(b"x" * 4 * MIB)
    (tree / "f").unlink()
    (tree / "g").write_bytes(b"x" * 4 * MIB)


def test_small_files_reach_the_limit(tree, pool):
    pool.run("daxfuse", "quota", pool.point, PROJECT, "--inodes", "0", "--bytes", "1M")
    with fails("EDQUOT"):
        for i in range(1000):
            (tree / str(i)).write_bytes(b"x" * 4096)
    assert used(pool)["bytes"] <= MIB
    assert 230 <= len(os.listdir(tree)) <= 257


def test_inodes_are_limited(tree, pool):
    makers = [lambda path: path.touch(), os.mkdir, os.mkfifo, lambda path: os.symlink("x", path)]
    for i in range(49):
        makers[i % 4](tree / str(i))
    for make in makers:
        with fails("EDQUOT"):
            make(tree / "one too many")
    with fails("EDQUOT"):
        os.open(tree, os.O_TMPFILE | os.O_RDWR)
    assert used(pool)["inodes"] == 50
    os.unlink(tree / "0")
    (tree / "fits").touch()


def test_fallocate_is_limited(tree):
    fd = os.open(tree / "f", os.O_RDWR | os.O_CREAT)
    with fails("EDQUOT"):
        fallocate(fd, 0, 0, 20 * MIB)
    os.ftruncate(fd, 100 * MIB)
    os.close(fd)


def test_copy_is_limited(tree, mnt):
    (mnt / "large").write_bytes(b"x" * 20 * MIB)
    with fails("EDQUOT"):
        shutil.copyfile(mnt / "large", tree / "copy")


def test_statfs_inside_the_tree(tree, mnt):
    (tree / "sub").mkdir()
    (tree / "sub/f").write_bytes(b"x" * MIB)
    for path in (tree, tree / "sub"):
        shown = os.statvfs(path)
        assert shown.f_blocks * shown.f_frsize == 8 * MIB and shown.f_files == 50
        assert shown.f_ffree == 47
        assert 5 * MIB <= shown.f_bavail * shown.f_frsize <= 7 * MIB
    assert os.statvfs(mnt).f_blocks * 4096 > 8 * MIB


def test_limit_below_use(tree, pool):
    (tree / "f").write_bytes(b"x" * 4 * MIB)
    pool.run("daxfuse", "quota", pool.point, PROJECT, "--bytes", "1M")
    with fails("EDQUOT"):
        (tree / "g").write_bytes(b"x" * 4096)
    assert os.statvfs(tree).f_bfree == 0
    with open(tree / "f", "r+b") as file:
        file.write(b"overwriting needs no space")
    (tree / "f").unlink()
    (tree / "g").write_bytes(b"x" * 4096)


def test_no_escape_by_rename_or_link(tree, mnt):
    (tree / "f").touch()
    (mnt / "f").touch()
    for source, target in ((mnt / "f", tree / "in"),):
        with fails("EXDEV"):
            os.rename(source, target)
        with fails("EXDEV"):
            os.link(source, target)
    shutil.move(mnt / "f", tree / "in")
    os.rename(tree / "in", tree / "g")


def test_project_of_a_file_moves_its_use(tree, mnt, pool):
    (mnt / "f").write_bytes(b"x" * MIB)
    before = used(pool)
    set_xflags(mnt / "f", project=PROJECT)
    assert get_xflags(mnt / "f").project == PROJECT
    assert used(pool)["inodes"] == before["inodes"] + 1
    assert used(pool)["bytes"] >= before["bytes"] + MIB
    set_xflags(mnt / "f", project=0)
    assert used(pool) == before


def test_unlinked_files_count_until_closed(tree, pool):
    fd = os.open(tree / "f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"x" * 4 * MIB)
    os.unlink(tree / "f")
    assert used(pool)["bytes"] >= 4 * MIB
    os.close(fd)
    assert eventually(lambda: used(pool)["inodes"], 1) == 1
    assert used(pool)["bytes"] <= 16384


def test_survives_a_killed_daemon(make_pool):
    pool = make_pool()
    mnt = pool.mount()
    (mnt / "tree").mkdir()
    pool.run("daxfuse", "quota", mnt / "tree", 9, "--assign", "--bytes", "8M")
    (mnt / "tree/f").write_bytes(b"x" * 3 * MIB)
    before = json.loads(pool.run("daxfuse", "quota", mnt, 9))
    pool.kill()
    pool.mount()
    assert json.loads(pool.run("daxfuse", "quota", mnt, 9)) == before
