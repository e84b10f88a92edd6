# SPDX-License-Identifier: BSD-3-Clause
"""Times: nanoseconds, what changes which, relatime and its relatives, birth time."""

import os
import time

import pytest

from support.process import USER, fails, run_as
from support.syscalls import statx

SECOND = 10 ** 9
STATX_BTIME = 0x800


def times(path):
    info = os.lstat(path)
    return info.st_atime_ns, info.st_mtime_ns, info.st_ctime_ns


@pytest.mark.parametrize("when", [
    0, 1, 999_999_999, 1_700_000_000_123_456_789, -1, -86400 * SECOND - 7, 2 ** 31 * SECOND,
    2 ** 33 * SECOND + 5])
def test_utimensat_keeps_nanoseconds(mnt, pool, when):
    (mnt / "f").touch()
    os.utime(mnt / "f", ns=(when, when + 1))
    assert times(mnt / "f")[:2] == (when, when + 1)
    pool.remount()
    assert times(mnt / "f")[:2] == (when, when + 1)


def test_now(mnt):
    before = time.time_ns()
    (mnt / "f").touch()
    os.utime(mnt / "f", ns=(0, 0))
    os.utime(mnt / "f")
    after = time.time_ns()
    for moment in times(mnt / "f"):
        # The kernel's clock for files lags by up to a tick.
        assert before - SECOND // 10 <= moment <= after


def test_utime_changes_ctime(mnt):
    (mnt / "f").touch()
    before = times(mnt / "f")
    os.utime(mnt / "f", ns=(1, 1))
    assert times(mnt / "f")[2] > before[2]


@pytest.mark.parametrize("change, mtime", [
    (lambda path: path.write_text("x"), True),
    (lambda path: os.truncate(path, 100), True),
    (lambda path: os.truncate(path, 5), True),
    (lambda path: os.chmod(path, 0o600), False),
    (lambda path: os.chown(path, 1, 1), False),
    (lambda path: os.setxattr(path, "user.a", b"1"), False),
], ids=["write", "grow", "same-size", "chmod", "chown", "setxattr"])
def test_what_changes(mnt, change, mtime):
    path = mnt / "f"
    path.write_text("12345")
    os.utime(path, ns=(1, 1))
    ctime = times(path)[2]
    change(path)
    after = times(path)
    assert after[2] > ctime and (after[1] > 1) == mtime


def test_write_through_a_descriptor(mnt):
    """mtime moves with each write, and is there before the file is closed."""
    fd = os.open(mnt / "f", os.O_RDWR | os.O_CREAT)
    seen = []
    for _ in range(3):
        os.write(fd, b"x")
        seen.append(times(mnt / "f")[1])
        time.sleep(0.02)
    os.close(fd)
    assert seen == sorted(set(seen)) and times(mnt / "f")[1] == seen[-1]


def test_birth_time(mnt, pool):
    before = time.time_ns()
    (mnt / "f").write_text("x")
    born = statx(mnt / "f")
    assert born.mask & STATX_BTIME
    assert before - SECOND // 10 <= born.btime <= time.time_ns()
    os.utime(mnt / "f", ns=(1, 1))
    (mnt / "f").write_text("more")
    os.rename(mnt / "f", mnt / "g")
    pool.remount()
    assert statx(mnt / "g").btime == born.btime


def test_statx_agrees_with_stat(mnt):
    (mnt / "f").write_bytes(b"x" * 10_000)
    info, full = os.stat(mnt / "f"), statx(mnt / "f")
    assert (full.ino, full.size, full.blocks, full.mtime, full.atime, full.ctime) == (
        info.st_ino, info.st_size, info.st_blocks, info.st_mtime_ns, info.st_atime_ns, info.st_ctime_ns)


def test_others_may_not_set_times(mnt):
    (mnt / "f").touch()
    os.chmod(mnt / "f", 0o666)
    with fails("EPERM"):
        run_as(USER, os.utime, mnt / "f", (1, 1))
    run_as(USER, os.utime, mnt / "f")
    os.chmod(mnt / "f", 0o644)
    with fails("EACCES"):
        run_as(USER, os.utime, mnt / "f")


DAY = 86400 * SECOND


@pytest.mark.parametrize("dax", ["always", "never"])
@pytest.mark.parametrize("option", ["relatime", "strictatime", "noatime"])
def test_access_time(make_pool, option, dax):
    pool = make_pool()
    mnt = pool.mount(option, f"dax={dax}")
    now = time.time_ns()
    cases = {  # (atime, mtime): whether relatime moves atime
        "fresh": (now - 2 * SECOND, now - 3 * SECOND, False),
        "changed": (now - 3 * SECOND, now - 2 * SECOND, True),
        "old": (now - 2 * DAY, now - 3 * DAY, True),
    }
    for name, (atime, mtime, moves) in cases.items():
        (mnt / name).write_text("x")
        (mnt / name).chmod(0o644)
        os.utime(mnt / name, ns=(atime, mtime))
        # ctime is now; make atime later than it where that matters.
        if name == "fresh":
            os.utime(mnt / name, ns=(now + 3600 * SECOND, mtime))
            atime = now + 3600 * SECOND
    pool.remount()
    for name, (atime, mtime, moves) in cases.items():
        before = times(mnt / name)[0]
        (mnt / name).read_text()
        pool.remount()
        moved = times(mnt / name)[0] != before
        assert moved == {"relatime": moves, "strictatime": True, "noatime": False}[option], name


def test_o_noatime(make_pool):
    pool = make_pool()
    mnt = pool.mount("strictatime")
    (mnt / "f").write_text("x")
    os.utime(mnt / "f", ns=(1, 1))
    fd = os.open(mnt / "f", os.O_RDONLY | os.O_NOATIME)
    os.read(fd, 10)
    os.close(fd)
    assert times(mnt / "f")[0] == 1
