# SPDX-License-Identifier: BSD-3-Clause
"""Inode flags, by chattr, lsattr, xfs_io and their ioctls."""

import os
import subprocess

import pytest

from support.pool import MIB
from support.process import USER, fails, run_as
from support.syscalls import (FALLOC_COLLAPSE_RANGE, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FS_APPEND_FL,
                              FS_IMMUTABLE_FL, FS_NOATIME_FL, FS_NODUMP_FL, FS_SYNC_FL, XFLAG_APPEND,
                              XFLAG_DAX, XFLAG_EXTSIZE, XFLAG_EXTSZINHERIT, XFLAG_IMMUTABLE, XFLAG_NODUMP,
                              XFLAG_PROJINHERIT, change_range, extents, fallocate, get_flags, get_xflags,
                              set_flags, set_xflags)


def chattr(flags, path):
    subprocess.run(["chattr", flags, path], check=True, capture_output=True)


def lsattr(path):
    return subprocess.run(["lsattr", "-d", path], check=True, capture_output=True,
                          text=True).stdout.split()[0]


def xfs_io(path, command):
    done = subprocess.run(["xfs_io", "-r", "-c", command, path], check=True, capture_output=True,
                          text=True)
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def immutable(mnt):
    path = mnt / "f"
    path.write_text("kept")
    chattr("+i", path)
    yield path
    chattr("-i", path)


def test_chattr_and_lsattr(mnt, pool):
    (mnt / "f").touch()
    (mnt / "d").mkdir()
    for name in "fd":
        chattr("+dA", mnt / name)
        assert {"d", "A"} <= set(lsattr(mnt / name))
    pool.remount()
    for name in "fd":
        assert {"d", "A"} <= set(lsattr(mnt / name))
        chattr("-d", mnt / name)
        assert "d" not in lsattr(mnt / name) and "A" in lsattr(mnt / name)


def test_both_interfaces_agree(mnt):
    (mnt / "f").touch()
    set_flags(mnt / "f", FS_NODUMP_FL | FS_SYNC_FL)
    assert get_xflags(mnt / "f").flags & XFLAG_NODUMP
    set_xflags(mnt / "f", XFLAG_DAX)
    assert get_flags(mnt / "f") & (FS_NODUMP_FL | FS_SYNC_FL) == 0
    set_flags(mnt / "f", get_flags(mnt / "f") | FS_NOATIME_FL)
    assert get_xflags(mnt / "f").flags & XFLAG_DAX


def test_unknown_flags_are_refused(mnt):
    (mnt / "f").touch()
    for call in (lambda: set_flags(mnt / "f", 0x4), lambda: set_xflags(mnt / "f", 0x1)):
        with fails("EOPNOTSUPP"):
            call()
    assert get_xflags(mnt / "f").flags == 0


@pytest.mark.parametrize("attempt", [
    lambda path: path.write_text("x"), lambda path: os.truncate(path, 0),
    lambda path: os.chmod(path, 0o777), lambda path: os.chown(path, 1, 1), os.unlink,
    lambda path: os.rename(path, str(path) + "2"), lambda path: os.link(path, str(path) + "2"),
    lambda path: os.setxattr(path, "user.a", b"1"), lambda path: os.utime(path, (1, 1)),
    lambda path: os.utime(path)],
    ids=["write", "truncate", "chmod", "chown", "unlink", "rename", "link", "setxattr", "utime", "touch"])
def test_immutable(immutable, attempt):
    before = os.stat(immutable)
    with fails("EPERM"):
        attempt(immutable)
    assert os.stat(immutable)[:8] == before[:8] and immutable.read_text() == "kept"


def test_immutable_is_not_replaced(mnt, immutable):
    (mnt / "g").touch()
    with fails("EPERM"):
        os.rename(mnt / "g", immutable)


def test_immutable_while_open(mnt):
    """As on every filesystem, a program that has it open already may write on."""
    fd = os.open(mnt / "f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"one")
    chattr("+i", mnt / "f")
    try:
        with fails("EPERM"):
            fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, 2)
        assert os.pread(fd, 10, 0) == b"one"
    finally:
        chattr("-i", mnt / "f")
        os.close(fd)


def test_immutable_directory(mnt):
    (mnt / "d").mkdir()
    (mnt / "d/f").write_text("x")
    chattr("+i", mnt / "d")
    try:
        for call in (lambda: (mnt / "d/new").touch(), lambda: os.unlink(mnt / "d/f"),
                     lambda: os.rename(mnt / "d/f", mnt / "d/g"), lambda: os.mkdir(mnt / "d/d"),
                     lambda: os.link(mnt / "d/f", mnt / "d/l"), lambda: os.symlink("x", mnt / "d/s"),
                     lambda: os.rmdir(mnt / "d")):
            with fails("EPERM"):
                call()
        (mnt / "d/f").write_text("its files may change")
    finally:
        chattr("-i", mnt / "d")


def test_append_only(mnt):
    path = mnt / "f"
    path.write_text("one ")
    chattr("+a", path)
    try:
        with fails("EPERM"):
            os.open(path, os.O_WRONLY)
        with fails("EPERM"):
            os.open(path, os.O_WRONLY | os.O_APPEND | os.O_TRUNC)
        with open(path, "a") as file:
            file.write("two")
        for call in (lambda: os.truncate(path, 0), lambda: os.unlink(path),
                     lambda: os.rename(path, mnt / "g")):
            with fails("EPERM"):
                call()
        assert path.read_text() == "one two"
    finally:
        chattr("-a", path)
    os.unlink(path)


def test_append_only_directory(mnt):
    (mnt / "d").mkdir()
    chattr("+a", mnt / "d")
    try:
        (mnt / "d/f").touch()
        for call in (lambda: os.unlink(mnt / "d/f"), lambda: os.rename(mnt / "d/f", mnt / "d/g")):
            with fails("EPERM"):
                call()
    finally:
        chattr("-a", mnt / "d")


def test_who_may_set_flags(mnt):
    (mnt / "f").touch()
    os.chmod(mnt / "f", 0o666)
    for flags in (FS_NODUMP_FL, FS_IMMUTABLE_FL):
        with fails("EPERM"):
            run_as(USER, set_flags, mnt / "f", flags)
    os.chown(mnt / "f", USER, USER)
    run_as(USER, set_flags, mnt / "f", FS_NODUMP_FL)
    for flags in (FS_NODUMP_FL | FS_IMMUTABLE_FL, FS_NODUMP_FL | FS_APPEND_FL):
        with fails("EPERM"):
            run_as(USER, set_flags, mnt / "f", flags)
    for flags in (XFLAG_IMMUTABLE, XFLAG_APPEND):
        with fails("EPERM"):
            run_as(USER, set_xflags, mnt / "f", flags)
    assert get_flags(mnt / "f") & 0x70 == FS_NODUMP_FL


def test_dax_flag_is_inherited(mnt, pool):
    (mnt / "d").mkdir()
    xfs_io(mnt / "d", "chattr +x")
    (mnt / "d/f").touch()
    (mnt / "d/sub").mkdir()
    (mnt / "d/sub/f").touch()
    pool.remount()
    for name in ("d", "d/f", "d/sub", "d/sub/f"):
        assert get_xflags(mnt / name).flags & XFLAG_DAX, name
    assert "x" in xfs_io(mnt / "d/f", "lsattr").split()[0]
    assert not get_xflags(mnt).flags & XFLAG_DAX


def test_dax_flag_of_a_file_with_content(mnt, pool):
    content = os.urandom(3 * MIB)
    (mnt / "f").write_bytes(content)
    xfs_io(mnt / "f", "chattr +x")
    assert (mnt / "f").read_bytes() == content
    with open(mnt / "f", "r+b") as file:
        file.write(b"start")
    pool.remount()
    xfs_io(mnt / "f", "chattr -x")
    assert (mnt / "f").read_bytes() == b"start" + content[5:]


def test_extent_size_hint(mnt):
    """With a hint of a unit a file is made of units from its first byte."""
    (mnt / "f").touch()
    set_xflags(mnt / "f", XFLAG_EXTSIZE, extsize=2 * MIB)
    assert get_xflags(mnt / "f").extsize == 2 * MIB
    (mnt / "f").write_bytes(b"x" * 5000)
    assert all(extent.flags & 2 for extent in extents(mnt / "f"))


def test_extent_size_hint_is_inherited(mnt):
    (mnt / "d").mkdir()
    set_xflags(mnt / "d", XFLAG_EXTSZINHERIT, extsize=2 * MIB)
    (mnt / "d/f").touch()
    (mnt / "d/sub").mkdir()
    assert get_xflags(mnt / "d/f")[:2] == (XFLAG_EXTSIZE, 2 * MIB)
    assert get_xflags(mnt / "d/sub")[:2] == (XFLAG_EXTSZINHERIT, 2 * MIB)


def test_extents_are_counted(mnt):
    (mnt / "f").write_bytes(b"x" * 10)
    (mnt / "g").write_bytes(b"x" * 5 * MIB)
    assert get_xflags(mnt / "g").extents >= 1


def test_project_is_inherited(mnt):
    (mnt / "d").mkdir()
    set_xflags(mnt / "d", XFLAG_PROJINHERIT, project=4711)
    (mnt / "d/f").touch()
    (mnt / "d/sub").mkdir()
    os.symlink("x", mnt / "d/s")
    assert get_xflags(mnt / "d/f").project == 4711
    assert get_xflags(mnt / "d/sub")[::3] == (XFLAG_PROJINHERIT, 4711)
    assert xfs_io(mnt / "d/f", "lsproj").strip() == "projid = 4711"
    (mnt / "outside").touch()
    with fails("EXDEV"):
        os.link(mnt / "outside", mnt / "d/link")
    # A rename into the tree is refused the same way, so that programs copy.
    with fails("EXDEV"):
        os.rename(mnt / "outside", mnt / "d/moved")


def test_collapse_of_an_append_only_file(mnt):
    (mnt / "f").write_bytes(bytes(20_000))
    fd = os.open(mnt / "f", os.O_RDWR)
    chattr("+a", mnt / "f")
    try:
        with fails("EPERM"):
            change_range(fd, FALLOC_COLLAPSE_RANGE, 0, 4096)
    finally:
        chattr("-a", mnt / "f")
        os.close(fd)


def test_on_special_files(mnt):
    """Opening a fifo or a device leads past the filesystem: no flags there, and no harm."""
    os.mkfifo(mnt / "p")
    with pytest.raises(OSError):
        set_flags(mnt / "p", FS_NODUMP_FL)
