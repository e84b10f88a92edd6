# SPDX-License-Identifier: BSD-3-Clause
"""Who may do what: modes, owners, sticky directories, suid and sgid."""

import itertools
import os
import shutil
import stat
import subprocess

import pytest

from support.process import USER, Child, fails, run_as

OTHER = 1234


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


@pytest.fixture
def shared(mnt):
    """A folder that anybody may write to."""
    path = mnt / "shared"
    path.mkdir()
    path.chmod(0o777)
    return path


def test_modes_are_enforced(mnt):
    (mnt / "f").write_text("x")
    os.chown(mnt / "f", USER, USER)
    for bits, who in itertools.product(range(8), ("owner", "group", "other")):
        os.chmod(mnt / "f", bits << {"owner": 6, "group": 3, "other": 0}[who])
        user = USER if who == "owner" else OTHER
        groups = [USER] if who == "group" else []
        for access, flag in ((4, os.O_RDONLY), (2, os.O_WRONLY), (6, os.O_RDWR)):
            try:
                run_as(user, lambda: os.close(os.open(mnt / "f", flag)), groups=groups)
                allowed = True
            except PermissionError:
                allowed = False
            assert allowed == (bits & access == access), (bits, who, access)


def test_directory_permissions(mnt):
    (mnt / "d").mkdir()
    (mnt / "d/f").write_text("x")
    os.chmod(mnt / "d/f", 0o666)
    os.chmod(mnt / "d", 0o711)
    assert run_as(USER, (mnt / "d/f").read_text) == "x"
    with fails("EACCES"):
        run_as(USER, os.listdir, mnt / "d")
    with fails("EACCES"):
        run_as(USER, os.unlink, mnt / "d/f")
    os.chmod(mnt / "d", 0o744)
    assert run_as(USER, os.listdir, mnt / "d") == ["f"]
    with fails("EACCES"):
        run_as(USER, (mnt / "d/f").read_text)


def test_access_call(mnt):
    (mnt / "f").touch()
    os.chmod(mnt / "f", 0o754)
    assert [run_as(USER, os.access, mnt / "f", bit) for bit in (4, 2, 1)] == [True, False, False]
    assert all(os.access(mnt / "f", bit) for bit in (4, 2, 1))
    os.chmod(mnt / "f", 0o600)
    assert not os.access(mnt / "f", os.X_OK)


def test_new_files_belong_to_their_maker(shared):
    def make():
        (shared / "f").touch()
        (shared / "d").mkdir()
        os.symlink("x", shared / "s")
        os.mkfifo(shared / "p")

    run_as(USER, make)
    for name in "fdsp":
        info = (shared / name).lstat()
        assert (info.st_uid, info.st_gid) == (USER, USER)


def test_sticky(shared):
    os.chmod(shared, 0o1777)
    run_as(USER, (shared / "f").touch)
    with fails("EPERM"):
        run_as(OTHER, os.unlink, shared / "f")
    with fails("EPERM"):
        run_as(OTHER, os.rename, shared / "f", shared / "g")
    run_as(USER, os.unlink, shared / "f")


def test_chmod_and_chown_rules(shared):
    run_as(USER, (shared / "f").touch)
    with fails("EPERM"):
        run_as(OTHER, os.chmod, shared / "f", 0o777)
    with fails("EPERM"):
        run_as(USER, os.chown, shared / "f", OTHER, -1)
    with fails("EPERM"):
        run_as(USER, os.chown, shared / "f", -1, OTHER)
    run_as(USER, os.chown, shared / "f", -1, 555, groups=[555])
    assert (shared / "f").stat().st_gid == 555
    run_as(USER, os.chmod, shared / "f", 0o640)
    assert mode(shared / "f") == 0o640


def test_all_mode_bits(mnt, pool):
    for bits in (0o7777, 0o4000, 0o2010, 0o1000, 0):
        (mnt / f"{bits:o}").touch()
        os.chmod(mnt / f"{bits:o}", bits)
    pool.remount()
    for bits in (0o7777, 0o4000, 0o2010, 0o1000, 0):
        assert mode(mnt / f"{bits:o}") == bits


# ---- suid and sgid

def test_chown_drops_suid_and_sgid(mnt):
    (mnt / "f").touch()
    os.chmod(mnt / "f", 0o6755)
    os.chown(mnt / "f", USER, USER)
    assert mode(mnt / "f") == 0o755
    os.chmod(mnt / "f", 0o2644)
    os.chown(mnt / "f", 0, 0)
    # Without group execution it is not sgid (it once meant mandatory locking).
    assert mode(mnt / "f") == 0o2644
    (mnt / "d").mkdir()
    os.chmod(mnt / "d", 0o6755)
    os.chown(mnt / "d", USER, USER)
    assert mode(mnt / "d") == 0o6755


def write(path):
    fd = os.open(path, os.O_WRONLY)
    os.pwrite(fd, b"x", 0)
    os.close(fd)


@pytest.mark.parametrize("change", [
    write, lambda path: os.truncate(path, 3),
    lambda path: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)), lambda path: os.truncate(path, 100_000)], ids=["write", "shrink", "O_TRUNC", "grow"])
@pytest.mark.parametrize("before, after", [(0o6777, 0o777), (0o4766, 0o766), (0o2777, 0o777)])
def test_changes_by_others_drop_suid_and_sgid(mnt, change, before, after):
    (mnt / "f").write_text("content")
    os.chmod(mnt / "f", before)
    run_as(USER, change, mnt / "f")
    assert mode(mnt / "f") == after


def test_writes_by_root_keep_them(mnt):
    (mnt / "f").write_text("content")
    os.chmod(mnt / "f", 0o6777)
    write(mnt / "f")
    assert mode(mnt / "f") == 0o6777


def test_second_write_drops_them_too(mnt):
    """The bits are set again while the file is open."""
    (mnt / "f").write_text("content")
    os.chmod(mnt / "f", 0o666)

    def writer():
        fd = os.open(mnt / "f", os.O_WRONLY)
        os.pwrite(fd, b"1", 0)
        os.write(ready, b"x")
        os.read(go, 1)
        os.pwrite(fd, b"2", 0)

    wait, ready = os.pipe()
    go, start = os.pipe()
    child = Child(writer, user=USER)
    os.read(wait, 1)
    os.chmod(mnt / "f", 0o6777)
    os.write(start, b"x")
    child.result()
    for fd in (wait, ready, go, start):
        os.close(fd)
    assert mode(mnt / "f") == 0o777


def test_sgid_directory(mnt):
    (mnt / "d").mkdir()
    os.chown(mnt / "d", 0, 777)
    os.chmod(mnt / "d", 0o2777)

    def make():
        (mnt / "d/f").touch()
        (mnt / "d/sub").mkdir()
        os.mkfifo(mnt / "d/p")
        os.symlink("x", mnt / "d/s")

    run_as(USER, make)
    for name in ("f", "sub", "p", "s"):
        info = (mnt / "d" / name).lstat()
        assert (info.st_uid, info.st_gid) == (USER, 777)
    assert mode(mnt / "d/sub") & stat.S_ISGID
    assert not mode(mnt / "d/f") & stat.S_ISGID


def test_sgid_file_in_sgid_directory_needs_the_group(mnt):
    """A user that is not in the directory's group can't make an executable that runs with it."""
    (mnt / "d").mkdir()
    os.chown(mnt / "d", 0, 777)
    os.chmod(mnt / "d", 0o2777)

    def make(name):
        os.close(os.open(mnt / "d" / name, os.O_CREAT | os.O_WRONLY, 0o2755))

    run_as(USER, make, "outside")
    assert mode(mnt / "d/outside") == 0o755
    run_as(USER, make, "inside", groups=[777])
    assert mode(mnt / "d/inside") == 0o2755


def test_chmod_sgid_needs_the_group(mnt):
    (mnt / "f").touch()
    os.chown(mnt / "f", USER, 777)
    run_as(USER, os.chmod, mnt / "f", 0o2755)
    assert mode(mnt / "f") == 0o755
    run_as(USER, os.chmod, mnt / "f", 0o2755, groups=[777])
    assert mode(mnt / "f") == 0o2755


def test_suid_program_runs_as_its_owner(mnt):
    shutil.copy("/usr/bin/id", mnt / "id")
    os.chown(mnt / "id", USER, USER)
    os.chmod(mnt / "id", 0o4755)
    out = subprocess.run([mnt / "id"], capture_output=True, text=True, check=True).stdout
    assert f"euid={USER}" in out


def is_on(setting):
    with open(f"/proc/sys/fs/{setting}") as file:
        return file.read().strip() != "0"


@pytest.mark.skipif(not is_on("protected_hardlinks"), reason="protected_hardlinks is off")
def test_protected_hardlinks(shared):
    (shared / "f").write_text("x")
    os.chmod(shared / "f", 0o600)
    with fails("EPERM"):
        run_as(USER, os.link, shared / "f", shared / "g")


@pytest.mark.skipif(not is_on("protected_symlinks"), reason="protected_symlinks is off")
def test_protected_symlinks(shared):
    os.chmod(shared, 0o1777)
    (shared / "f").write_text("x")
    run_as(USER, os.symlink, "f", shared / "s")
    with fails("EACCES"):
        (shared / "s").read_text()
