# SPDX-License-Identifier: BSD-3-Clause
"""The file systems of the comparison, each on memory of the same tmpfs."""

import contextlib
import pathlib
import subprocess
import time

from . import machine

URING = pathlib.Path("/sys/module/fuse/parameters/enable_uring")


class Peer:
    """A file system: `mount(memory, size)` is a context manager that gives its root."""

    def __init__(self, name, kind, mount):
        self.name = name
        self.kind = kind  # "kernel", "FUSE" or "daxfuse"
        self.mount = mount


@contextlib.contextmanager
def _folder(memory, name):
    path = memory / name
    path.mkdir()
    try:
        yield path
    finally:
        path.rmdir()


def _wait_for(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not after {seconds} s")
        time.sleep(0.02)


def unmount(path):
    """umount(8); retried, because a program of the bench may just be ending."""
    for _ in range(50):
        if subprocess.run(["umount", path], check=False, stderr=subprocess.DEVNULL).returncode == 0:
            return
        time.sleep(0.1)
    machine.command("umount", path)


@contextlib.contextmanager
def _tmpfs(memory, size):
    with _folder(memory, "tmpfs") as root:
        machine.command("mount", "-t", "tmpfs", "-o", f"huge=always,size={size}", "tmpfs", root)
        try:
            yield root
        finally:
            unmount(root)


@contextlib.contextmanager
def _image(memory, name, size):
    path = memory / name
    with open(path, "wb") as file:
        file.truncate(size)
    try:
        yield path
    finally:
        path.unlink()


@contextlib.contextmanager
def _ext4(memory, size):
    with _image(memory, "ext4.img", size) as image, _folder(memory, "ext4") as root:
        machine.command("mkfs.ext4", "-q", "-E", "lazy_itable_init=0", image)
        machine.command("mount", "-o", "loop", image, root)
        try:
            yield root
        finally:
            unmount(root)


@contextlib.contextmanager
def _bindfs(memory, _size):
    with _folder(memory, "bindfs-source") as source, _folder(memory, "bindfs") as root:
        machine.command("bindfs", source, root)
        try:
            yield root
        finally:
            unmount(root)
            machine.command("find", source, "-mindepth", "1", "-delete")


@contextlib.contextmanager
def _fuse2fs(memory, size):
    with _image(memory, "fuse2fs.img", size) as image, _folder(memory, "fuse2fs") as root:
        machine.command("mkfs.ext4", "-q", "-E", "lazy_itable_init=0", image)
        machine.command("fuse2fs", image, root)
        try:
            yield root
        finally:
            unmount(root)


def daemon_of(image):
    """The process id of the daxfuse daemon that serves an image."""
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"daxfuse") and str(image).encode() in words:
            return int(entry.name)
    raise RuntimeError(f"no daemon serves {image}")


@contextlib.contextmanager
def uring_enabled(wanted):
    """Let the kernel offer the io_uring transport, or not."""
    before = URING.read_text() if URING.exists() else None
    if before is not None:
        URING.write_text("Y" if wanted else "N")
    try:
        yield
    finally:
        if before is not None:
            URING.write_text(before.strip())


def daxfuse(build, options):
    """A mount function of daxfuse with mount options."""
    @contextlib.contextmanager
    def mount(memory, size):
        uring = "io_uring" in options.split(",")
        with (_image(memory, "daxfuse.img", size) as image,
              _folder(memory, "daxfuse") as root, uring_enabled(uring)):
            machine.command(build / "bin/mkfs.daxfuse", image)
            machine.command(build / "bin/daxfuse", image, root, "-o", options)
            try:
                yield root
            finally:
                machine.command(build / "bin/daxfuse", "umount", "--wait", root)
    return mount


def all_peers(build):
    """Every peer of the comparison, in the order of the table."""
    peers = [Peer("tmpfs", "kernel", _tmpfs), Peer("ext4", "kernel", _ext4),
             Peer("bindfs", "FUSE", _bindfs), Peer("fuse2fs", "FUSE", _fuse2fs),
             Peer("daxfuse", "daxfuse", daxfuse(build, "dax=inode")),
             Peer("daxfuse, DAX", "daxfuse", daxfuse(build, "dax=always"))]
    if URING.exists():
        peers += [Peer("daxfuse, io_uring", "daxfuse", daxfuse(build, "io_uring,dax=inode")),
                  Peer("daxfuse, io_uring, DAX", "daxfuse",
                       daxfuse(build, "io_uring,dax=always"))]
    return peers
