# SPDX-License-Identifier: BSD-3-Clause
"""
What the kernel believes of a file is what is on the media, after every change: also those that it
did not ask for, or does not know to be one. It has asked for all attributes just before, and
would believe them for an hour.
"""

import json
import mmap
import os
import shutil
import subprocess

import pytest

from support import syscalls
from support.direct import EAGER, PAGE, UNIT, WRITE, Program
from support.pool import MIB
from support.process import USER, eventually, run_as

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

OTHER = bytes.fromhex("02000000" "01000700ffffffff" "0200060005000000" "04000500ffffffff"
                      "10000700ffffffff" "20000000ffffffff")


def counters(pool):
    return json.loads(pool.run("daxfuse", "status", pool.point))["counters"]


def opened(function):
    """function(fd, path) of the file."""

    def act(pool, folder):
        fd = os.open(folder / "file", os.O_RDWR)
        try:
            function(fd, folder / "file")
        finally:
            os.close(fd)

    return act


def mapped(function):
    """function(file) of a program that is connected to the daemon."""

    def act(pool, folder):
        with Program(pool.point) as program:
            file = program.open(folder / "file")
            try:
                function(file)
            finally:
                file.close()

    return act


def named(function):
    return lambda pool, folder: function(folder / "file", folder)


def store(file):
    file.map(access=WRITE)
    file.store(5, b"stored")
    file.let_go()


def fill_hole(file):
    file.map(2 * UNIT, UNIT, access=WRITE)
    file.store(2 * UNIT, b"stored")


def scatter(pool, folder):
    """A file in blocks that would fit into a unit: there was none when it was written."""
    small = [folder / f"small{i}" for i in range(96)]
    for path in small:
        path.write_bytes(b"s" * 64 * 1024)
    with open(folder / "filler", "ab") as filler:
        while json.loads(pool.run("daxfuse", "status", pool.point))["space"]["free_units"]:
            os.posix_fallocate(filler.fileno(), os.fstat(filler.fileno()).st_size, UNIT)
    for path in small[::2]:
        path.unlink()
    (folder / "scattered").write_bytes(os.urandom(UNIT))
    (folder / "filler").unlink()


def realign(pool, folder):
    gathered = json.loads(pool.run("daxfuse", "realign", pool.point))["gathered"]
    assert gathered >= UNIT


def trim(pool, folder):
    """A small file that has got a unit while it grew gives it back when it is closed."""
    before = counters(pool)["units_trimmed"]
    fd = os.open(folder / "file", os.O_RDWR | os.O_TRUNC)
    for at in range(0, UNIT // 2, 16 * PAGE):
        os.pwrite(fd, b"x" * 16 * PAGE, at)
    os.ftruncate(fd, 40 * PAGE)
    os.fstat(fd)
    os.close(fd)
    assert eventually(lambda: counters(pool)["units_trimmed"] > before, True) is True
    # it was closed by then: nobody could be told before close() had returned
    assert eventually(lambda: os.stat(folder / "file").st_blocks * 512 < UNIT, True) is True


def grow_and_close(pool, folder):
    fd = os.open(folder / "new", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"x" * 300_000)
    os.fstat(fd)
    os.close(fd)
    eventually(lambda: os.stat(folder / "new").st_blocks <= 600, True)


def watch(pool, folder):
    """Its rounds take stores through mappings for writes."""
    with Program(pool.point) as program:
        file = program.open(folder / "file")
        file.map(access=EAGER)
        watcher = subprocess.Popen([pool.bin_dir / "daxfuse", "watch", "--interval", "10", pool.point],
                                   stdout=subprocess.PIPE)
        watcher.stdout.readline()
        os.stat(folder / "file")
        file.store(0, b"stored")
        file.let_go()
        watcher.terminate()
        watcher.communicate()
        file.close()


def kernel_mmap(fd, path):
    with mmap.mmap(fd, 0) as memory:
        memory[3:8] = b"12345"
        memory.flush()


def read_all(folder):
    (folder / "file").read_bytes()
    os.listdir(folder)
    os.readlink(folder / "link")


IOCTLS = {
    "set flags": named(lambda path, _: syscalls.set_flags(path, syscalls.FS_NODUMP_FL)),
    "set flags of a folder": named(lambda _, folder: syscalls.set_flags(folder, syscalls.FS_NODUMP_FL)),
    "set xflags": named(lambda path, _: syscalls.set_xflags(path, extsize=UNIT,
                                                            flags=syscalls.XFLAG_EXTSIZE)),
    "set project": named(lambda path, _: syscalls.set_xflags(path, project=7)),
    "set project of a folder": named(lambda _, folder: syscalls.set_xflags(folder, project=7)),
    "DAX flag": named(lambda path, _: syscalls.set_xflags(path, syscalls.XFLAG_DAX)),
    "collapse": opened(lambda fd, _: syscalls.change_range(fd, syscalls.FALLOC_COLLAPSE_RANGE, 0, PAGE)),
    "insert": opened(lambda fd, _: syscalls.change_range(fd, syscalls.FALLOC_INSERT_RANGE, PAGE, PAGE)),
    "insert a unit": opened(lambda fd, _: syscalls.change_range(fd, syscalls.FALLOC_INSERT_RANGE, 0, UNIT)),
    "quota": lambda pool, folder: pool.run("daxfuse", "quota", folder, "7", "--assign", "--bytes", "64M"),
    "label": lambda pool, folder: pool.run("daxfuse", "label", pool.point, "label"),
    "realign": realign,
}

MAPPINGS = {
    "watch": watch,
    "store through a mapping": mapped(store),
    "map": mapped(lambda file: file.map()),
    "map a hole": mapped(lambda file: file.map(2 * UNIT, UNIT)),
    "fill a hole": mapped(fill_hole),
    "pin": mapped(lambda file: file.pin(0, 3 * UNIT)),
    "unpin": mapped(lambda file: (file.pin(0, 3 * UNIT), os.stat(file.fd), file.unpin(0, 3 * UNIT))),
    "promote": mapped(lambda file: file.promote(2 * UNIT, UNIT)),
}

CALLS = {
    "write": opened(lambda fd, _: os.write(fd, b"12345")),
    "append": named(lambda path, _: open(path, "ab").write(b"x" * MIB)),
    "store through a kernel mapping": opened(kernel_mmap),
    "truncate": named(lambda path, _: os.truncate(path, 100)),
    "grow": named(lambda path, _: os.truncate(path, 9 * UNIT)),
    "O_TRUNC": named(lambda path, _: open(path, "w").close()),
    "allocate": opened(lambda fd, _: syscalls.fallocate(fd, 0, 0, 5 * UNIT)),
    "reserve": opened(lambda fd, _: syscalls.fallocate(fd, 1, 0, 5 * UNIT)),
    "punch": opened(lambda fd, _: syscalls.fallocate(fd, 3, 0, UNIT)),
    "zero": opened(lambda fd, _: syscalls.fallocate(fd, 16, 0, UNIT)),
    "copy a range": lambda pool, folder: copy_range(folder),
    "chmod": named(lambda path, _: os.chmod(path, 0o4711)),
    "chown": named(lambda path, _: os.chown(path, 5, 6)),
    "utime": named(lambda path, _: os.utime(path, ns=(5, 6))),
    "setxattr": named(lambda path, _: os.setxattr(path, "user.a", b"x" * 3000)),
    "removexattr": named(lambda path, _: (os.setxattr(path, "user.a", b"x"), os.stat(path),
                                          os.removexattr(path, "user.a"))),
    "ACL": named(lambda path, _: os.setxattr(path, "system.posix_acl_access", OTHER)),
    "default ACL": named(lambda _, folder: os.setxattr(folder, "system.posix_acl_default", OTHER)),
    "create": named(lambda _, folder: (folder / "new").touch()),
    "mkdir": named(lambda _, folder: (folder / "new").mkdir()),
    "rmdir": named(lambda _, folder: (folder / "below").rmdir()),
    "symlink": named(lambda _, folder: (folder / "new").symlink_to("x")),
    "mkfifo": named(lambda _, folder: os.mkfifo(folder / "new")),
    "link": named(lambda path, folder: os.link(path, folder / "new")),
    "unlink": named(lambda _, folder: (folder / "other").unlink()),
    "rename": named(lambda path, folder: path.rename(folder / "new")),
    "rename into": named(lambda path, folder: path.rename(folder / "below/new")),
    "rename a folder": named(lambda _, folder: (folder / "below").rename(folder.parent / "moved")),
    "rename over": named(lambda path, folder: (folder / "third").rename(folder / "other")),
    "exchange": named(lambda path, folder: syscalls.renameat2(path, folder / "below",
                                                              syscalls.RENAME_EXCHANGE)),
    "O_TMPFILE": named(lambda _, folder: link_new(folder)),
    "read": named(lambda _, folder: read_all(folder)),
}

BY_ITSELF = {
    "trim": trim,
    "grow and close": grow_and_close,
}


def copy_range(folder):
    with open(folder / "file", "rb") as source, open(folder / "other", "r+b") as target:
        os.copy_file_range(source.fileno(), target.fileno(), UNIT, 0, 0)


def link_new(folder):
    fd = os.open(folder, os.O_TMPFILE | os.O_RDWR)
    os.fstat(fd)
    syscalls.link_fd(fd, folder / "new")
    os.close(fd)


def known(top):
    """All that stat() says of everything below, by its path."""
    paths = [top, *(os.path.join(folder, name) for folder, folders, files in os.walk(top)
                    for name in (*folders, *files))]
    found = {}
    for path in paths:
        s = os.lstat(path)
        found[str(path)] = {name: getattr(s, name) for name in (
            "st_ino", "st_mode", "st_nlink", "st_uid", "st_gid", "st_rdev", "st_size", "st_blocks",
            "st_atime_ns", "st_mtime_ns", "st_ctime_ns")}
    return found


def differences(before, after):
    return {path: {name: (before[path][name], after[path][name]) for name in before[path]
                   if before[path][name] != after[path][name]}
            for path in before if path in after and before[path] != after[path]} | {
            path: "only once" for path in before.keys() ^ after.keys()}


@needs_root
@pytest.mark.parametrize("dax", ["always", "never"])
@pytest.mark.parametrize("name", [*IOCTLS, *CALLS, *BY_ITSELF])
def test_known_at_once(make_pool, name, dax):
    assert_known_after({**IOCTLS, **CALLS, **BY_ITSELF}[name], make_pool(160 * MIB), dax)


@needs_root
@pytest.mark.parametrize("name", MAPPINGS)
def test_mappings_known_at_once(make_pool, name):
    assert_known_after(MAPPINGS[name], make_pool(160 * MIB), "always")


def assert_known_after(change, pool, dax):
    """At once, and after a remount."""
    mnt = pool.mount(f"dax={dax}")
    folder = mnt / "folder"
    (folder / "below").mkdir(parents=True)
    path = folder / "file"
    path.write_bytes(os.urandom(UNIT + 5))
    os.truncate(path, 3 * UNIT)
    os.link(path, folder / "other name")
    (folder / "other").write_bytes(b"other")
    os.link(folder / "other", folder / "second")
    (folder / "third").touch()
    (folder / "link").symlink_to("nowhere")
    if change is realign:
        scatter(pool, folder)
    pool.remount()
    known(mnt)
    change(pool, folder)
    at_once = known(mnt)
    pool.remount("noatime", f"dax={dax}")
    assert differences(at_once, known(mnt)) == {}


# ---- the size, which the kernel uses without asking


def append_after_each(path):
    """To a file whose size an ioctl changes, without asking for it."""
    data = os.urandom(5 * PAGE + 77)
    path.write_bytes(data)
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    for number in range(40):
        syscalls.change_range(fd, syscalls.FALLOC_COLLAPSE_RANGE if number % 2 else
                              syscalls.FALLOC_INSERT_RANGE, PAGE, PAGE)
        os.write(fd, b"%d" % number)
        data = (data[:PAGE] + data[2 * PAGE:] if number % 2 else
                data[:PAGE] + bytes(PAGE) + data[PAGE:]) + b"%d" % number
    os.close(fd)
    assert path.read_bytes() == data


@needs_root
@pytest.mark.parametrize("dax", ["always", "never"])
def test_appends_go_to_the_new_end(make_pool, dax):
    pool = make_pool()
    append_after_each(pool.mount(f"dax={dax}") / "file")


@needs_root
@pytest.mark.skipif(not shutil.which("fusermount3"), reason="needs fusermount3")
def test_appends_go_to_the_new_end_of_a_user(make_pool):
    """Where the daemon may not open files by their handles."""
    pool = make_pool()
    for path in (pool.folder, pool.image, pool.point, pool.log):
        os.chown(path, USER, USER)

    def use():
        pool.run("mkfs.daxfuse", "-f", "-q", pool.image)
        subprocess.run([pool.bin_dir / "daxfuse", pool.image, pool.point], check=True,
                       capture_output=True)
        try:
            append_after_each(pool.point / "file")
        finally:
            pool.run("daxfuse", "umount", "--wait", pool.point)

    run_as(USER, use)
