# SPDX-License-Identifier: BSD-3-Clause
"""POSIX ACLs: set with setfacl, inherited, enforced."""

import os
import stat
import struct
import subprocess

import pytest

from support.process import USER, fails, run_as


def setfacl(*args):
    subprocess.run(["setfacl", *args], check=True, capture_output=True)


def getfacl(path):
    out = subprocess.run(["getfacl", "-cpnE", path], check=True, capture_output=True, text=True).stdout
    return out.split()


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_access_acl(mnt, pool):
    (mnt / "f").write_text("secret")
    os.chmod(mnt / "f", 0o600)
    with fails("EACCES"):
        run_as(USER, (mnt / "f").read_text)
    setfacl("-m", f"u:{USER}:r", mnt / "f")
    assert run_as(USER, (mnt / "f").read_text) == "secret"
    with fails("EACCES"):
        run_as(USER, (mnt / "f").write_text, "x")
    assert getfacl(mnt / "f") == [
        "user::rw-", f"user:{USER}:r--", "group::---", "mask::r--", "other::---"]
    assert mode(mnt / "f") == 0o640
    pool.remount()
    assert run_as(USER, (mnt / "f").read_text) == "secret"
    setfacl("-b", mnt / "f")
    assert os.listxattr(mnt / "f") == []
    with fails("EACCES"):
        run_as(USER, (mnt / "f").read_text)


def test_group_entries(mnt):
    (mnt / "f").write_text("x")
    os.chmod(mnt / "f", 0o600)
    setfacl("-m", "g:777:rw", mnt / "f")
    run_as(USER, (mnt / "f").write_text, "y", groups=[777])
    with fails("EACCES"):
        run_as(USER, (mnt / "f").read_text)


def test_mask_limits(mnt):
    (mnt / "f").write_text("x")
    setfacl("-m", f"u:{USER}:rw,m::r", mnt / "f")
    run_as(USER, (mnt / "f").read_text)
    with fails("EACCES"):
        run_as(USER, (mnt / "f").write_text, "y")
    os.chmod(mnt / "f", 0o660)
    run_as(USER, (mnt / "f").write_text, "y")
    assert "mask::rw-" in getfacl(mnt / "f")
    os.chmod(mnt / "f", 0o600)
    assert "mask::---" in getfacl(mnt / "f")
    with fails("EACCES"):
        run_as(USER, (mnt / "f").read_text)


def test_acl_that_a_mode_expresses_is_the_mode(mnt):
    (mnt / "f").touch()
    setfacl("-m", "u::rwx,g::r,o::-", mnt / "f")
    assert mode(mnt / "f") == 0o740 and os.listxattr(mnt / "f") == []


def test_inheritance(mnt, pool):
    (mnt / "d").mkdir(mode=0o755)
    setfacl("-d", "-m", f"u:{USER}:rwx,g::rx,o::-", mnt / "d")
    pool.remount()
    old = os.umask(0o077)
    try:
        (mnt / "d/f").touch()
        (mnt / "d/sub").mkdir()
        os.mkfifo(mnt / "d/sub/fifo", 0o660)
        os.symlink("x", mnt / "d/link")
    finally:
        os.umask(old)
    # The umask does not count where there is a default ACL.
    assert getfacl(mnt / "d/f") == [
        "user::rw-", f"user:{USER}:rwx", "group::r-x", "mask::rw-", "other::---"]
    assert mode(mnt / "d/f") == 0o660
    listed = getfacl(mnt / "d/sub")
    assert f"user:{USER}:rwx" in listed and f"default:user:{USER}:rwx" in listed
    assert f"default:user:{USER}:rwx" not in getfacl(mnt / "d/sub/fifo")
    assert f"user:{USER}:rwx" in getfacl(mnt / "d/sub/fifo")
    run_as(USER, (mnt / "d/f").write_text, "allowed")
    run_as(USER, (mnt / "d/sub/own").touch)


def test_create_mode_narrows_the_inherited_mask(mnt):
    (mnt / "d").mkdir()
    setfacl("-d", "-m", f"u:{USER}:rwx", mnt / "d")
    os.close(os.open(mnt / "d/f", os.O_CREAT | os.O_WRONLY, 0o600))
    assert mode(mnt / "d/f") == 0o600
    with fails("EACCES"):
        run_as(USER, (mnt / "d/f").read_text)


def test_umask_without_default_acl(mnt):
    (mnt / "d").mkdir()
    old = os.umask(0o027)
    try:
        os.close(os.open(mnt / "d/f", os.O_CREAT | os.O_WRONLY, 0o666))
        os.mkdir(mnt / "d/d", 0o777)
        os.mknod(mnt / "d/n", 0o666)
        fd = os.open(mnt / "d", os.O_TMPFILE | os.O_RDWR, 0o666)
        assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o640
        os.close(fd)
    finally:
        os.umask(old)
    assert [mode(mnt / "d" / name) for name in "fdn"] == [0o640, 0o750, 0o640]


def test_default_acl_only_on_directories(mnt):
    (mnt / "f").touch()
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in (
        (1, 7, 2 ** 32 - 1), (4, 5, 2 ** 32 - 1), (32, 5, 2 ** 32 - 1)))
    with fails("EACCES"):
        os.setxattr(mnt / "f", "system.posix_acl_default", value)
    (mnt / "d").mkdir()
    os.setxattr(mnt / "d", "system.posix_acl_default", value)
    os.removexattr(mnt / "d", "system.posix_acl_default")


@pytest.mark.parametrize("value", [b"", b"\x01\0\0\0", b"\x02\0\0\0" + b"\xff" * 8, b"\x02\0\0\0\x01"])
def test_broken_acls_are_refused(mnt, value):
    (mnt / "f").touch()
    before = mode(mnt / "f")
    if value:
        with pytest.raises(OSError):
            os.setxattr(mnt / "f", "system.posix_acl_access", value)
    assert mode(mnt / "f") == before and os.listxattr(mnt / "f") == []


def test_only_the_owner_may_set(mnt):
    (mnt / "f").touch()
    os.chmod(mnt / "f", 0o666)
    with pytest.raises(AssertionError):
        run_as(USER, setfacl, "-m", "u:1:r", mnt / "f")
    os.chown(mnt / "f", USER, USER)
    run_as(USER, setfacl, "-m", "u:1:r", mnt / "f")


def test_setting_an_acl_may_drop_sgid(mnt):
    """An owner outside the file's group can't keep sgid by way of an ACL."""
    (mnt / "f").touch()
    os.chown(mnt / "f", USER, 12345)
    os.chmod(mnt / "f", 0o2755)
    run_as(USER, setfacl, "-m", "u:1:r", mnt / "f")
    assert not mode(mnt / "f") & stat.S_ISGID


def test_large_acl(mnt, pool):
    (mnt / "f").touch()
    setfacl("-m", ",".join(f"u:{1000 + i}:r" for i in range(200)), mnt / "f")
    pool.remount()
    assert len(getfacl(mnt / "f")) == 204


def test_copy_keeps_acls(mnt):
    (mnt / "f").write_text("x")
    setfacl("-m", f"u:{USER}:rwx", mnt / "f")
    subprocess.run(["cp", "-a", mnt / "f", mnt / "g"], check=True)
    assert getfacl(mnt / "f") == getfacl(mnt / "g")
