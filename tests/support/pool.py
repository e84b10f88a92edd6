# SPDX-License-Identifier: BSD-3-Clause
"""
A pool in memory, its daemon, and what must hold when it is put away: the daemon
lives until it is unmounted, leaves no core, says nothing suspicious, and
fsck.daxfuse finds nothing.
"""

import contextlib
import ctypes
import os
import re
import resource
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

from support import devices, service

MIB = 1 << 20
HANG = 180  # seconds after which a daemon that keeps a test waiting is shot
SUSPICIOUS = re.compile(
    r"error|warning|exception|sanitizer|assert|abort|segv|fault|leak|corrupt|damage|unexpected"
    r"|invalid|poison|fsck|serving process", re.I)

# Options of a mount that has none, where there are devices to be made: the guest has the module, too.
WITHOUT_VIEWS = {"ro", "dax=never", "views=off"}

libc = ctypes.CDLL(None, use_errno=True)


def is_mounted(point):
    """As /proc sees it: never asks the daemon."""
    with open("/proc/self/mountinfo") as table:
        return any(line.split()[4] == str(point) for line in table)


def io_uring_is_on():
    """Whether the kernel lets FUSE daemons take requests through io_uring."""
    setting = Path("/sys/module/fuse/parameters/enable_uring")
    return setting.exists() and setting.read_text().strip() == "Y"


@contextlib.contextmanager
def fusectl():
    """A descriptor of the folder where FUSE's connections are controlled. It is mounted nowhere, so it
    does not matter whether /sys/fs/fuse/connections is."""
    fsopen, fsconfig, fsmount, create, cloexec = 430, 431, 432, 6, 1
    context = libc.syscall(fsopen, b"fusectl", cloexec)
    try:
        if libc.syscall(fsconfig, context, create, None, None, 0) < 0:
            raise OSError(ctypes.get_errno(), "fusectl")
        folder = libc.syscall(fsmount, context, cloexec, 0)
    finally:
        os.close(context)
    try:
        yield folder
    finally:
        os.close(folder)


def abort_connection(number):
    """All requests of the mount whose device has this minor number fail from now on."""
    with fusectl() as folder:
        fd = os.open(f"{number}/abort", os.O_WRONLY, dir_fd=folder)
        try:
            os.write(fd, b"1")
        finally:
            os.close(fd)


def name_of(pid):
    """A process's name; "" if it has gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def users_of(point):
    """What keeps a mount busy: files that processes have open, mapped, or stand in."""
    def is_there(path):
        return path == str(point) or path.startswith(f"{point}/")

    users = set()
    for link in [*Path("/proc").glob("[0-9]*/fd/*"), *Path("/proc").glob("[0-9]*/cwd"),
                 *Path("/proc").glob("[0-9]*/root"), *Path("/proc").glob("[0-9]*/exe")]:
        with contextlib.suppress(OSError):
            if is_there(os.readlink(link)):
                name = Path(*link.parts[:3], "comm").read_text().strip()
                users.add(f"{link} ({name}) {os.readlink(link)}")
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            users |= {f"{maps} {line}" for line in maps.read_text().splitlines()
                      if is_there(line.split(maxsplit=5)[-1])}
    return sorted(users)


class Pool:
    """
    mkfs, mount, umount, kill, fsck of one image; `point` is where it is mounted.
    DAXFUSE_OPTIONS="io_uring max_threads=2" adds to the options of each mount. It lies on a device,
    or in a file; without a device where there are none to be made (support/devices.py), or `file` says so.
    """

    def __init__(self, bin_dir, folder, size=256 * MIB, mkfs=(), device=None, file=False):
        self.bin_dir = Path(bin_dir)
        self.folder = Path(folder)
        self.folder.mkdir(mode=0o755, parents=True)
        self.point = self.folder / "mnt"
        self.point.mkdir()
        self.log = self.folder / "log"
        self.log.touch()
        self.daemon = None
        self.options = ()
        self.hung = False
        self.made = None
        if device is None and not file and devices.are_wanted():
            device = self.made = devices.create(size)
        if device is None:
            self.image = self.folder / "pool"
            with open(self.image, "wb") as image:
                image.truncate(size)
        else:
            self.image = Path(device)
        self.run("mkfs.daxfuse", "-q", *(("-f",) if device else ()), *mkfs, self.image)

    def run(self, program, *args, code=0):
        """One of our programs; its stdout."""
        done = subprocess.run([self.bin_dir / program, *map(str, args)], capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, timeout=HANG)
        assert code is None or done.returncode == code, (
            f"{program} {args}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    # ---- the daemon

    def mount(self, *options, user=None):
        """Start the daemon in the foreground and wait until the mount answers."""
        assert self.daemon is None
        self.options = options
        command = [self.bin_dir / "daxfuse", self.image, self.point, "-f"]
        for option in [*os.environ.get("DAXFUSE_OPTIONS", "").split(), *options]:
            command += ["-o", option]
        with open(self.log, "ab") as log:
            self.daemon = self._start(command, log, user)
        while not is_mounted(self.point):
            if self.daemon.poll() is not None:
                self.daemon = None
                raise AssertionError("daxfuse cannot mount:\n" + self.log.read_text())
            time.sleep(0.002)
        os.statvfs(self.point)
        if self.made and user is None and not WITHOUT_VIEWS & set(",".join(options).split(",")):
            assert "through kernel views" in self.log.read_text(), self.log.read_text()
        return self.point

    def _start(self, command, log, user):
        if service.is_wanted() and user is None:
            return service.Service(command, log, self.folder)
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, user=user, group=user,
            extra_groups=[] if user else None,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (2 ** 30, 2 ** 30)))

    def is_alive(self):
        return self.daemon is not None and self.daemon.poll() is None

    def umount(self):
        """Unmount, wait for the daemon, look at how it ended."""
        self._umount()
        status = self.daemon.wait(HANG)
        self.daemon = None
        self.check_log()
        assert status == 0, f"daemon ended with {status}"

    def _umount(self):
        tool = ["umount"] if os.geteuid() == 0 else ["fusermount3", "-u"]
        for _ in range(500):
            done = subprocess.run([*tool, self.point], capture_output=True, text=True)
            if done.returncode == 0:
                return
            # A process that ended a moment ago may still let go of its files.
            time.sleep(0.01)
        raise AssertionError(f"{done.stderr}used by: {users_of(self.point)}")

    def serving(self):
        """The process that serves: the daemon's child, or itself where it has no keeper."""
        children = Path(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children")
        pids = [int(pid) for pid in children.read_text().split()]
        named = [pid for pid in pids if name_of(pid) == "daxfuse"]
        return named[0] if named else self.daemon.pid

    def shoot(self):
        """SIGKILL, first for who would start a new one."""
        serving = self.serving() if self.daemon.poll() is None else self.daemon.pid
        self.daemon.send_signal(signal.SIGKILL)
        if serving != self.daemon.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(serving, signal.SIGKILL)

    def kill(self):
        """SIGKILL the whole daemon and drop the dead mount."""
        self.shoot()
        self.daemon.wait()
        self.daemon = None
        self.detach()

    def detach(self):
        subprocess.run(["umount", "-l", self.point] if os.geteuid() == 0 else
                       ["fusermount3", "-uz", self.point], check=True, capture_output=True)

    def remount(self, *options):
        self.umount()
        return self.mount(*(options or self.options))

    def revive(self):
        """After a test that has lost its daemon: why, and a new one for the next test."""
        status = self.daemon.wait()
        self.daemon = None
        if is_mounted(self.point):
            self.detach()
        text = self.log.read_text()
        self.log.write_text("")
        for core in self.folder.glob("core*"):
            core.unlink()
        hung, self.hung = self.hung, False
        self.mount(*self.options)
        return f"the daemon {'hung' if hung else 'died'} (status {status}):\n{text[-10000:]}"

    @contextlib.contextmanager
    def watched(self):
        """Programs that wait for a daemon that hangs can't be interrupted: end the daemon."""
        def shoot():
            self.hung = True
            if self.is_alive():
                self.shoot()
        timer = threading.Timer(HANG, shoot)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    # ---- what must hold

    def check_log(self):
        lines = self.log.read_text(errors="replace").splitlines()
        # Without the folder: it has the test's name, which may well have "error" in it.
        bad = [line for line in lines if SUSPICIOUS.search(line.replace(str(self.folder), ""))]
        assert not bad, "suspicious lines in the daemon's log:\n" + "\n".join(lines[-100:])
        assert not list(self.folder.glob("core*")), "the daemon left a core file"

    def fsck(self):
        done = subprocess.run([self.bin_dir / "fsck.daxfuse", "-n", "-f", self.image],
                              capture_output=True, text=True, timeout=HANG)
        assert done.returncode == 0, f"fsck: {done.returncode}\n{done.stdout}{done.stderr}"

    def free(self):
        """Free blocks and inodes."""
        now = os.statvfs(self.point)
        return now.f_bfree, now.f_ffree

    def close(self):
        """Put it away; everything is checked."""
        if self.daemon is not None:
            self.umount()
        self.check_log()
        self.fsck()

    def abandon(self):
        """Put it away after a failure, at all costs."""
        if self.daemon is not None:
            self.shoot()
            self.daemon.wait()
            self.daemon = None
        while is_mounted(self.point):
            self.detach()

    def put_away(self):
        """Close it; nothing is left, whatever comes of that."""
        try:
            self.close()
        finally:
            self.remove()

    def remove(self):
        self.abandon()
        shutil.rmtree(self.folder)
        if self.made:
            devices.destroy(self.made)

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        if failed:
            self.remove()
        else:
            self.put_away()


class Folder:
    """A folder of a pool that is served elsewhere, in place of a Pool."""

    def __init__(self, path):
        self.point = Path(path)
        self.folder = self.point
        self.options = ()

    def is_alive(self):
        return True

    def watched(self):
        return contextlib.nullcontext()

    def remount(self):
        """As far as it can: nothing that is not in use is believed any more."""
        Path("/proc/sys/vm/drop_caches").write_text("3")
