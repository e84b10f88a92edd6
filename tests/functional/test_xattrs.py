# SPDX-License-Identifier: BSD-3-Clause
"""Extended attributes: sizes, namespaces, limits, flags."""

import os
import random

import pytest

from support.process import USER, fails, run_as


def data(size, seed=1):
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("size", [0, 1, 100, 200, 240, 256, 257, 1000, 4096, 20_000, 65536])
def test_value_sizes(mnt, pool, size):
    (mnt / "f").touch()
    os.setxattr(mnt / "f", "user.a", data(size))
    assert os.getxattr(mnt / "f", "user.a") == data(size)
    pool.remount()
    assert os.getxattr(mnt / "f", "user.a") == data(size)
    assert os.listxattr(mnt / "f") == ["user.a"]
    os.removexattr(mnt / "f", "user.a")
    assert os.listxattr(mnt / "f") == []
    with fails("ENODATA"):
        os.getxattr(mnt / "f", "user.a")
    assert (mnt / "f").stat().st_blocks == 0


def test_value_too_large(mnt):
    (mnt / "f").touch()
    with fails("E2BIG"):
        os.setxattr(mnt / "f", "user.a", bytes(65537))


def test_names(mnt):
    (mnt / "f").touch()
    longest = "user." + "n" * 250
    os.setxattr(mnt / "f", longest, b"1")
    os.setxattr(mnt / "f", "user.ä.b c", b"2")
    assert sorted(os.listxattr(mnt / "f")) == sorted([longest, "user.ä.b c"])
    with fails("ERANGE"):
        os.setxattr(mnt / "f", longest + "n", b"1")
    with fails("EOPNOTSUPP"):
        os.setxattr(mnt / "f", "other.a", b"1")


def test_create_and_replace(mnt):
    (mnt / "f").touch()
    with fails("ENODATA"):
        os.setxattr(mnt / "f", "user.a", b"1", os.XATTR_REPLACE)
    os.setxattr(mnt / "f", "user.a", b"1", os.XATTR_CREATE)
    with fails("EEXIST"):
        os.setxattr(mnt / "f", "user.a", b"2", os.XATTR_CREATE)
    os.setxattr(mnt / "f", "user.a", b"3", os.XATTR_REPLACE)
    assert os.getxattr(mnt / "f", "user.a") == b"3"
    with fails("ENODATA"):
        os.removexattr(mnt / "f", "user.b")


def test_many(mnt, pool):
    """Random changes against a model, through all storage forms."""
    rng = random.Random(5)
    (mnt / "f").touch()
    model = {}
    for _ in range(300):
        name = f"user.{rng.randrange(25)}"
        if name in model and rng.random() < 0.4:
            os.removexattr(mnt / "f", name)
            del model[name]
        else:
            model[name] = rng.randbytes(rng.choice([0, 3, 50, 300, 3000]))
            os.setxattr(mnt / "f", name, model[name])
    pool.remount()
    assert {name: os.getxattr(mnt / "f", name) for name in os.listxattr(mnt / "f")} == model


def test_all_space_used_up(mnt):
    """A file's attributes have a limit; what was there stays."""
    (mnt / "f").touch()
    stored = 0
    with fails("ENOSPC"):
        for i in range(1000):
            os.setxattr(mnt / "f", f"user.{i}", data(4000, i))
            stored += 1
    assert stored >= 20
    assert len(os.listxattr(mnt / "f")) == stored
    for i in range(stored):
        assert os.getxattr(mnt / "f", f"user.{i}") == data(4000, i)


def test_on_every_type(mnt):
    (mnt / "d").mkdir()
    (mnt / "f").touch()
    os.symlink("f", mnt / "s")
    os.mkfifo(mnt / "p")
    for name in ("d", "f", "s", "p"):
        os.setxattr(mnt / name, "trusted.a", name.encode(), follow_symlinks=False)
    for name in ("d", "f", "s", "p"):
        assert os.getxattr(mnt / name, "trusted.a", follow_symlinks=False) == name.encode()
    for name in ("s", "p"):
        with fails("EPERM"):
            os.setxattr(mnt / name, "user.a", b"1", follow_symlinks=False)


def test_namespaces(mnt):
    (mnt / "f").touch()
    os.chmod(mnt / "f", 0o644)
    for name in ("user.a", "trusted.a", "security.a"):
        os.setxattr(mnt / "f", name, b"1")
    assert sorted(os.listxattr(mnt / "f")) == ["security.a", "trusted.a", "user.a"]
    assert run_as(USER, os.getxattr, mnt / "f", "user.a") == b"1"
    assert "trusted.a" not in run_as(USER, os.listxattr, mnt / "f")
    with fails("ENODATA"):
        run_as(USER, os.getxattr, mnt / "f", "trusted.a")
    with fails("EACCES"):
        run_as(USER, os.setxattr, mnt / "f", "user.b", b"1")
    with fails("EPERM"):
        run_as(USER, os.setxattr, mnt / "f", "trusted.b", b"1")


def test_capabilities(mnt):
    """security.capability is kept, and dropped when the file changes."""
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    (mnt / "f").write_text("x")
    os.chmod(mnt / "f", 0o755)
    os.setxattr(mnt / "f", "security.capability", capability)
    assert os.getxattr(mnt / "f", "security.capability") == capability
    os.chown(mnt / "f", 1, 1)
    with fails("ENODATA"):
        os.getxattr(mnt / "f", "security.capability")
    os.setxattr(mnt / "f", "security.capability", capability)
    (mnt / "f").write_text("changed")
    with fails("ENODATA"):
        os.getxattr(mnt / "f", "security.capability")


def test_directory_with_entries_keeps_them(mnt):
    (mnt / "d").mkdir()
    os.setxattr(mnt / "d", "user.a", data(2000))
    for i in range(300):
        (mnt / f"d/{i}").touch()
    assert os.getxattr(mnt / "d", "user.a") == data(2000)
