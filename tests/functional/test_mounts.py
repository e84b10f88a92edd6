# SPDX-License-Identifier: BSD-3-Clause
"""Mounting: options, modes, who may, who may not, and how it ends."""

import json
import os
import shutil
import signal
import stat
import subprocess

import pytest

from support.pool import MIB, is_mounted
from support.process import USER, Child, eventually, fails, run_as
from support.syscalls import XFLAG_DAX, get_xflags, idmapped, set_flags

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def mount_fails(pool, *options):
    """What the daemon says when it refuses."""
    with pytest.raises(AssertionError) as refused:
        pool.mount(*options)
    text = pool.log.read_text()
    pool.log.write_text("")
    assert text in str(refused.value)
    return text


# ---- what is shown

def test_statfs(make_pool):
    pool = make_pool(64 * MIB)
    mnt = pool.mount()
    shown = os.statvfs(mnt)
    assert shown.f_frsize == 4096 and shown.f_namemax == 255
    assert 40 * MIB <= shown.f_blocks * 4096 <= 64 * MIB
    assert shown.f_bavail == shown.f_bfree <= shown.f_blocks
    assert shown.f_files > shown.f_ffree > 1000
    (mnt / "f").write_bytes(b"x" * 10 * MIB)
    after = os.statvfs(mnt)
    assert shown.f_bfree - 10 * MIB // 4096 - 512 <= after.f_bfree <= shown.f_bfree - 10 * MIB // 4096
    assert after.f_ffree == shown.f_ffree - 1 and after.f_blocks == shown.f_blocks


def test_findmnt(make_pool):
    pool = make_pool()
    pool.mount()
    out = subprocess.run(["findmnt", "-J", "-M", pool.point], capture_output=True, check=True).stdout
    (found,) = json.loads(out)["filesystems"]
    assert found["source"] == str(pool.image) and found["fstype"] == "fuse.daxfuse"
    assert "default_permissions" in found["options"]


def test_root_directory(make_pool):
    pool = make_pool()
    mnt = pool.mount()
    info = mnt.stat()
    assert stat.S_ISDIR(info.st_mode) and info.st_nlink == 2 and os.listdir(mnt) == []
    os.chmod(mnt, 0o750)
    os.chown(mnt, 5, 6)
    os.setxattr(mnt, "user.a", b"1")
    pool.remount()
    info = mnt.stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0o750, 5, 6)
    assert os.getxattr(mnt, "user.a") == b"1"


def test_contents_are_there_again(make_pool):
    pool = make_pool()
    mnt = pool.mount()
    for i in range(3):
        (mnt / f"d{i}").mkdir()
        (mnt / f"d{i}/f").write_bytes(bytes([i]) * 100_000)
        pool.remount()
        for j in range(i + 1):
            assert (mnt / f"d{j}/f").read_bytes() == bytes([j]) * 100_000


# ---- DAX modes

def test_dax_modes(make_pool):
    """The flag decides with `inode` (the default); `always` and `never` do without it."""
    pool = make_pool()
    mnt = pool.mount()
    (mnt / "d").mkdir()
    subprocess.run(["xfs_io", "-r", "-c", "chattr +x", mnt / "d"], check=True)
    content = os.urandom(300_000)
    (mnt / "d/flagged").write_bytes(content)
    (mnt / "plain").write_bytes(content)
    for mode in ("inode", "always", "never"):
        pool.remount(f"dax={mode}")
        for name in ("d/flagged", "plain"):
            assert (mnt / name).read_bytes() == content
            assert bool(get_xflags(mnt / name).flags & XFLAG_DAX) == (name == "d/flagged")
        with open(mnt / "plain", "r+b") as file:
            file.write(mode.encode())
        content = (mnt / "plain").read_bytes()
        (mnt / "d/flagged").write_bytes(content)


def cached_pages(path):
    """How many pages of a file the kernel keeps."""
    out = subprocess.run(["fincore", "-n", "-b", "-o", "PAGES", path], capture_output=True, text=True,
                         check=True).stdout
    return int(out or 0)


@pytest.mark.skipif(not shutil.which("fincore"), reason="needs fincore")
@pytest.mark.parametrize("mode, cached", [("never", True), ("always", False)])
def test_dax_files_bypass_the_page_cache(make_pool, mode, cached):
    pool = make_pool()
    mnt = pool.mount(f"dax={mode}")
    (mnt / "f").write_bytes(b"x" * MIB)
    (mnt / "f").read_bytes()
    assert (cached_pages(mnt / "f") > 0) == cached


def test_mkfs_dax(make_pool):
    pool = make_pool(mkfs=["--dax"])
    mnt = pool.mount()
    (mnt / "f").touch()
    assert get_xflags(mnt).flags & XFLAG_DAX and get_xflags(mnt / "f").flags & XFLAG_DAX


# ---- read-only

@pytest.mark.image
def test_read_only(make_pool):
    pool = make_pool()
    mnt = pool.mount()
    (mnt / "f").write_text("kept")
    os.setxattr(mnt / "f", "user.a", b"1")
    (mnt / "d").mkdir()
    pool.umount()
    with open(pool.image, "rb") as image:
        before = image.read()
    pool.mount("ro")
    assert (mnt / "f").read_text() == "kept" and os.getxattr(mnt / "f", "user.a") == b"1"
    for call in (lambda: (mnt / "g").touch(), lambda: os.unlink(mnt / "f"), lambda: os.mkdir(mnt / "e"),
                 lambda: os.chmod(mnt / "f", 0o777), lambda: os.truncate(mnt / "f", 0),
                 lambda: os.open(mnt / "f", os.O_WRONLY), lambda: os.rename(mnt / "f", mnt / "g"),
                 lambda: os.setxattr(mnt / "f", "user.a", b"2"), lambda: os.utime(mnt / "f"),
                 lambda: os.link(mnt / "f", mnt / "l"), lambda: os.rmdir(mnt / "d"),
                 lambda: os.open(mnt, os.O_TMPFILE | os.O_RDWR),
                 lambda: set_flags(mnt / "f", 0x40)):
        with fails("EROFS"):
            call()
    pool.umount()
    with open(pool.image, "rb") as image:
        assert image.read() == before


def test_read_only_after_a_kill(make_pool):
    """A journal that waits for replay does not keep readers out, or the refusal says why."""
    pool = make_pool()
    mnt = pool.mount()
    (mnt / "f").write_text("kept")
    pool.kill()
    pool.mount("ro")
    assert (mnt / "f").read_text() == "kept"


# ---- two at once, and refusals

@needs_root
def test_second_daemon_is_refused(make_pool):
    pool = make_pool()
    mnt = pool.mount()
    (mnt / "f").write_text("x")
    other = pool.folder / "other"
    other.mkdir()
    # Where the first mount is not seen: else this would only be one more place for it.
    script = f"umount -l {mnt}; exec {pool.bin_dir}/daxfuse {pool.image} {other}"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True)
    assert done.returncode == 32
    assert str(pool.daemon.pid) in done.stderr and not is_mounted(other)
    assert (mnt / "f").read_text() == "x"


@pytest.mark.image
@pytest.mark.parametrize("damage, words", [
    (lambda file: (file.seek(0), file.write(bytes(4096)), file.seek(62 * MIB), file.write(bytes(4096))),
     "no daxfuse pool"),
    (lambda file: file.truncate(40 * MIB), "")], ids=["blank", "truncated"])
def test_refused_images(make_pool, damage, words):
    pool = make_pool(64 * MIB)
    with open(pool.image, "rb") as file:
        good = file.read()
    with open(pool.image, "r+b") as file:
        damage(file)
    done = subprocess.run([pool.bin_dir / "daxfuse", pool.image, pool.point], capture_output=True, text=True)
    pool.image.write_bytes(good)
    lines = done.stderr.splitlines()
    assert done.returncode == 32 and done.stdout == ""
    assert lines[0].startswith(f"daxfuse: {pool.image}: ") and words in lines[0] and len(lines) == 2
    assert not is_mounted(pool.point)


@pytest.mark.parametrize("arguments, code", [
    ([], 1), (["{image}"], 1), (["{image}", "{point}", "-o", "nonsense"], 1),
    (["{image}", "{point}", "-o", "dax=maybe"], 1), (["{image}", "/no/such/place"], 32),
    (["/no/such/image", "{point}"], 32), (["/dev/null", "{point}"], 32), (["{image}", "{image}"], 32)])
def test_wrong_usage(make_pool, arguments, code):
    pool = make_pool()
    words = [word.format(image=pool.image, point=pool.point) for word in arguments]
    done = subprocess.run([pool.bin_dir / "daxfuse", *words], capture_output=True, text=True)
    assert done.returncode == code and done.stdout == "" and done.stderr.startswith("daxfuse: ")
    assert not is_mounted(pool.point)


# ---- as programs and mount(8) call it

def test_background(make_pool):
    """The command returns when the mount is usable."""
    pool = make_pool()
    for _ in range(3):
        subprocess.run([pool.bin_dir / "daxfuse", pool.image, pool.point], check=True, capture_output=True)
        (pool.point / "f").write_text("at once")
        pool.run("daxfuse", "umount", "--wait", pool.point)


@needs_root
@pytest.mark.parametrize("name", ["mount.daxfuse", "mount.fuse.daxfuse"])
def test_mount_helper(make_pool, name):
    pool = make_pool()
    helper = pool.folder / name
    helper.symlink_to(pool.bin_dir / "daxfuse")
    words = ["-s", "-n", "-v", "-o", "rw,user,nofail,auto,_netdev,x-systemd.automount,noatime,nosuid"]
    subprocess.run([helper, pool.image, pool.point, *words], check=True, capture_output=True)
    (pool.point / "f").write_text("x")
    with open("/proc/self/mountinfo") as table:
        (line,) = [line for line in table if f" {pool.point} " in line]
    assert "nosuid" in line
    pool.run("daxfuse", "umount", "--wait", pool.point)


@needs_root
def test_nosuid_and_noexec(make_pool):
    pool = make_pool()
    mnt = pool.mount("nosuid", "noexec")
    shutil.copy("/usr/bin/id", mnt / "id")
    os.chmod(mnt / "id", 0o4755)
    with fails("EACCES"):
        subprocess.run([mnt / "id"])
    pool.remount("nosuid")
    os.chown(mnt / "id", USER, USER)
    os.chmod(mnt / "id", 0o4755)
    out = subprocess.run([mnt / "id"], capture_output=True, text=True, check=True).stdout
    assert "euid" not in out


@needs_root
def test_remount_read_only_by_mount(make_pool):
    pool = make_pool()
    mnt = pool.mount()
    subprocess.run(["mount", "-i", "-o", "remount,ro", mnt], check=True, capture_output=True)
    with fails("EROFS"):
        (mnt / "f").touch()
    subprocess.run(["mount", "-i", "-o", "remount,rw", mnt], check=True, capture_output=True)
    (mnt / "f").touch()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_ends_on_a_signal(make_pool, name):
    """An orderly end: unmounted, exit status 0."""
    pool = make_pool()
    mnt = pool.mount()
    (mnt / "f").write_text("kept")
    pool.daemon.send_signal(getattr(signal, name))
    assert pool.daemon.wait(60) == 0
    pool.daemon = None
    assert not is_mounted(mnt)
    pool.mount()
    assert (mnt / "f").read_text() == "kept"


KEEPERS = ["keeper=supervisor", "keeper=none"]


@needs_root
@pytest.mark.parametrize("keeper", KEEPERS)
def test_a_signal_ends_what_was_detached(make_pool, keeper):
    """The mount has no place any more, and a program has a file of it open."""
    pool = make_pool()
    mnt = pool.mount(keeper)
    fd = os.open(mnt / "f", os.O_RDWR | os.O_CREAT)
    pool.detach()
    os.write(fd, b"kept")
    pool.daemon.terminate()
    assert pool.daemon.wait(60) == 0
    pool.daemon = None
    with fails("ENOTCONN"):
        os.fstat(fd)
    os.close(fd)
    pool.mount()
    assert (mnt / "f").read_text() == "kept"


@needs_root
@pytest.mark.parametrize("keeper", KEEPERS)
def test_a_signal_leaves_what_lies_there_now(make_pool, keeper):
    """The mount was detached, and somebody has put another one in its place."""
    pool = make_pool()
    mnt = pool.mount(keeper)
    fd = os.open(mnt / "f", os.O_RDWR | os.O_CREAT)
    pool.detach()
    subprocess.run(["mount", "-t", "tmpfs", "another", mnt], check=True)
    try:
        (mnt / "mine").touch()
        pool.daemon.terminate()
        assert pool.daemon.wait(60) == 0
        pool.daemon = None
        assert (mnt / "mine").exists()
    finally:
        os.close(fd)
        subprocess.run(["umount", mnt], check=True)
    pool.check_log()


@needs_root
@pytest.mark.parametrize("keeper", KEEPERS)
def test_signals_end_what_another_namespace_has(make_pool, keeper):
    """The first one unmounts what we see of it, the next one ends it everywhere."""
    pool = make_pool()
    mnt = pool.mount(keeper)
    elsewhere = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c",
                                  "echo; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        elsewhere.stdout.readline()
        pool.daemon.terminate()
        assert eventually(lambda: is_mounted(mnt), False) is False
        assert pool.is_alive()
        pool.daemon.terminate()
        assert pool.daemon.wait(60) == 0
        pool.daemon = None
    finally:
        elsewhere.communicate()


@needs_root
def test_idmapped_mounts_are_refused(make_pool):
    """docs/design/volumes.md says why; tmpfs shows that the kernel has them."""
    mnt = make_pool().mount()
    process = subprocess.Popen(["unshare", "--user", "--map-root-user", "sh", "-c", "echo; exec cat"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    namespace = os.open(f"/proc/{process.pid}/ns/user", os.O_RDONLY)
    try:
        os.close(idmapped("/dev/shm", namespace))
        with fails("EINVAL"):
            idmapped(mnt, namespace)
    finally:
        os.close(namespace)
        process.communicate()


def test_busy_umount(make_pool):
    pool = make_pool()
    mnt = pool.mount()
    with open(mnt / "f", "w") as file:
        done = subprocess.run(["umount", mnt], capture_output=True)
        assert done.returncode != 0
        file.write("goes on")
    assert (mnt / "f").read_text() == "goes on"


def test_lazy_umount_serves_open_files(make_pool):
    pool = make_pool()
    mnt = pool.mount()
    fd = os.open(mnt / "f", os.O_RDWR | os.O_CREAT)
    pool.detach()
    os.write(fd, b"still served")
    assert os.pread(fd, 100, 0) == b"still served"
    os.close(fd)
    assert pool.daemon.wait(60) == 0
    pool.daemon = None
    pool.mount()
    assert (mnt / "f").read_text() == "still served"


# ---- users

@needs_root
def test_other_users(make_pool):
    """As root everybody may use the mount, within permissions."""
    pool = make_pool()
    mnt = pool.mount()
    os.chmod(mnt, 0o777)
    run_as(USER, (mnt / "f").write_text, "x")
    assert (mnt / "f").stat().st_uid == USER


@pytest.mark.image
@needs_root
@pytest.mark.skipif(not shutil.which("fusermount3"), reason="needs fusermount3")
def test_unprivileged_mount(make_pool):
    """An ordinary user mounts an image of their own; nobody else gets in."""
    pool = make_pool()
    for path in (pool.folder, pool.image, pool.point):
        os.chown(path, USER, USER)

    def use():
        mnt = pool.point
        command = [pool.bin_dir / "daxfuse", pool.image, mnt]
        subprocess.run(command, check=True, capture_output=True)
        try:
            (mnt / "d").mkdir()
            (mnt / "d/f").write_text("mine")
            os.rename(mnt / "d/f", mnt / "g")
            content = (mnt / "g").read_text()
            os.write(ready, b"x")
            os.read(go, 1)
        finally:
            subprocess.run([pool.bin_dir / "daxfuse", "umount", "--wait", mnt], check=True)
        return content

    wait, ready = os.pipe()
    go, start = os.pipe()
    # The root folder of the new pool belongs to who made it: make it theirs.
    mnt = pool.mount()
    os.chown(mnt, USER, USER)
    pool.umount()
    child = Child(use, user=USER)
    os.close(ready)  # ours: if the child fails, there is nothing to wait for
    assert os.read(wait, 1) or child.result()
    try:
        with fails("EACCES"):
            os.listdir(pool.point)
    finally:
        os.write(start, b"x")
    assert child.result() == "mine"
    for fd in (wait, go, start):
        os.close(fd)
    pool.mount()
    assert (mnt / "g").read_text() == "mine" and (mnt / "g").stat().st_uid == USER


@pytest.mark.image
@needs_root
def test_users_image_belongs_to_them_after_mkfs(make_pool):
    """mkfs as an ordinary user: the root folder is theirs."""
    pool = make_pool()
    os.chown(pool.image, USER, USER)
    run_as(USER, pool.run, "mkfs.daxfuse", "-f", "-q", pool.image)
    mnt = pool.mount()
    assert mnt.stat().st_uid == USER


# ---- sizes

@pytest.mark.parametrize("size", [16 * MIB, 16 * MIB + 4096, 33 * MIB])
def test_small_pools(make_pool, size):
    pool = make_pool(size)
    mnt = pool.mount()
    (mnt / "f").write_bytes(b"x" * 2 * MIB)
    pool.remount()
    assert (mnt / "f").read_bytes() == b"x" * 2 * MIB


@pytest.mark.image
def test_sparse_terabyte(make_pool):
    pool = make_pool(1 << 40)
    mnt = pool.mount()
    assert os.statvfs(mnt).f_blocks * 4096 > 0.99 * (1 << 40)
    (mnt / "f").write_bytes(b"x" * 10 * MIB)
    pool.remount()
    assert (mnt / "f").stat().st_size == 10 * MIB


def test_threads_options(make_pool):
    for options in (["max_threads=1"], ["clone_fd"], ["max_threads=3", "clone_fd"]):
        pool = make_pool()
        mnt = pool.mount(*options)
        children = [Child((mnt / str(i)).write_bytes, b"x" * MIB) for i in range(5)]
        for child in children:
            child.result()
        assert eventually(lambda: len(os.listdir(mnt)), 5) == 5
