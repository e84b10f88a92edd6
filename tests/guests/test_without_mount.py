# SPDX-License-Identifier: BSD-3-Clause
"""A pool that is served to guests and is mounted nowhere: daxfuse DEVICE none."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import time

import pytest

from restart.keeper import Service
from support.pool import HANG, name_of
from support.process import eventually, fails
from support.vhost import ROOT, Gone, Guest


class Served:
    """Of a pool; `one` is the socket of its first export."""

    def __init__(self, pool, folder):
        self.pool, self.folder = pool, folder
        self.one = folder / "one.sock"
        self.daemon = None

    def command(self, *options, exports=None):
        exports = [f"{self.one}:one"] if exports is None else exports
        words = [self.pool.bin_dir / "daxfuse", self.pool.image, "none"]
        for option in [*(f"export={each}" for each in exports), *options]:
            words += ["-o", option]
        return words

    def start(self, *options, exports=None):
        with open(self.pool.log, "ab") as log:
            self.daemon = subprocess.Popen(
                [*self.command(*options, exports=exports), "-f"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (2 ** 30, 2 ** 30)))
        assert eventually(lambda: self.daemon.poll() is not None or self.is_answering(), True), self.pool.log.read_text()
        assert self.daemon.poll() is None, self.pool.log.read_text()
        return self

    def is_answering(self):
        done = subprocess.run([self.pool.bin_dir / "daxfuse", "status", self.pool.image], capture_output=True)
        return done.returncode == 0

    def run(self, *words, code=0):
        return self.pool.run("daxfuse", *words, code=code)

    def status(self):
        return json.loads(self.run("status", self.pool.image))

    def serving(self):
        return self.status()["mount"]["pid"]

    def end(self):
        """As it should: nothing is left, and the pool is sound."""
        status = self.daemon.wait(HANG)
        self.daemon = None
        assert status == 0, self.pool.log.read_text()
        self.pool.check_log()
        self.pool.fsck()
        assert not self.one.exists()
        assert self.run("status", self.pool.image, code=1) == ""

    def stop(self):
        self.daemon.send_signal(signal.SIGTERM)
        self.end()

    def abandon(self):
        if self.daemon and self.daemon.poll() is None:
            children = [int(pid) for pid in open(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children").read().split()]
            self.daemon.kill()
            for pid in children:
                if name_of(pid) == "daxfuse":
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            self.daemon.wait()


@pytest.fixture
def served(make_pool, socket_dir):
    served = Served(make_pool(), socket_dir)
    yield served
    served.abandon()


def use(guest, name):
    node, _, fh = guest.create(ROOT, name)
    guest.write(node, fh, b"bytes")
    assert guest.read(node, fh, 0, 5) == b"bytes"
    return node, fh


@pytest.mark.parametrize("keeper", ["supervisor", "none"])
def test_it_serves_and_ends(served, keeper):
    served.start(f"keeper={keeper}")
    status = served.status()
    assert status["mountpoint"] == "none" and status["device"] == str(served.pool.image)
    assert status["mount"]["transport"] == "vhost-user" and status["mount"]["restartable"] == (keeper != "none")
    assert [each["tag"] for each in status["exports"]] == ["one"]
    os.mkdir(served.folder / "none")  # its name is no path
    metrics = subprocess.run([served.pool.bin_dir / "daxfuse", "status", "--prometheus", served.pool.image],
                             capture_output=True, text=True, cwd=served.folder)
    assert metrics.returncode == 0 and 'mountpoint="none"' in metrics.stdout
    assert "fuse.daxfuse" not in "".join(
        line for line in open("/proc/self/mounts") if str(served.pool.image) in line)
    with Guest(served.one) as guest:
        node, fh = use(guest, "f")
        guest.unlink(ROOT, "f")
        assert guest.read(node, fh, 0, 5) == b"bytes"
        guest.release(*guest.create(ROOT, "stays")[::2])
    served.stop()
    served.pool.mount()
    assert os.listdir(served.pool.point) == ["stays"]


def test_in_the_background(served):
    """It returns when it serves; daxfuse umount ends it, and waits for the device."""
    done = subprocess.run(served.command(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    with Guest(served.one) as guest:
        use(guest, "f")
    assert served.run("umount", "--wait", served.pool.image) == ""
    served.pool.fsck()
    assert not served.one.exists() and served.run("status", served.pool.image, code=1) == ""
    served.run("umount", served.pool.image, code=1)


@pytest.mark.parametrize("end", ["killed", "restarted"])
def test_a_guest_goes_on(served, end):
    served.start()
    with Guest(served.one) as guest:
        folder, _ = guest.mkdir(ROOT, "folder")
        node, _, fh = guest.create(folder, "gone")
        guest.write(node, fh, b"before")
        guest.unlink(folder, "gone")
        for turn in range(3):
            if end == "killed":
                os.kill(served.serving(), signal.SIGKILL)
            else:
                assert json.loads(served.run("restart", served.pool.image))["starts"] == turn + 2
            assert guest.read(node, fh, 0, 6) == b"before"
            guest.release(*guest.create(folder, f"new{turn}")[::2])
        [export] = served.status()["exports"]
        assert export["connected"] and export["kept"] and export["connections"] == 1
        assert served.status()["mount"]["starts"] == 4
        guest.release(node, fh)
        guest.forget(node)
        with fails("ESTALE"):
            guest.getattr(node)
    served.pool.log.write_text("")  # it tells of the deaths
    served.stop()


def test_systemd_keeps_it(served, tmp_path):
    """Its descriptors are in the fd store; what SIGTERM ends leaves nothing there."""
    served.daemon = Service([*served.command("keeper=systemd"), "-f"], served.pool.folder)
    served.daemon.wait_until_ready()
    with Guest(served.one) as guest:
        node, fh = use(guest, "f")
        for turn in range(2):
            os.kill(served.serving(), signal.SIGKILL)
            assert guest.read(node, fh, 0, 5) == b"bytes"
            assert eventually(lambda: served.status()["mount"]["starts"], turn + 2) == turn + 2
        assert json.loads(served.run("restart", served.pool.image))["starts"] == 4
        assert guest.read(node, fh, 0, 5) == b"bytes"
    os.kill(served.daemon.pid, signal.SIGTERM)
    served.end()


def test_exports_are_added_and_removed(served):
    """None at the start: the device is the command's operand."""
    served.start(exports=[])
    image, two = served.pool.image, served.folder / "two.sock"
    served.run("export", "--socket", served.one, "--tag", "one", image)
    with Guest(served.one) as guest:
        guest.mkdir(guest.mkdir(ROOT, "a")[0], "b")
        served.run("export", "--socket", two, "--tag", "two", "--subdir", "a/b", "--readonly", "--cache", "none",
                   "--window", "16M", "--vmm", "alioth", image)
        with Guest(two) as inner:
            with fails("EROFS"):
                inner.mkdir(ROOT, "d")
        found = {each["tag"]: each for each in served.status()["exports"]}
        assert found["two"]["cache"] == "none" and found["two"]["window"]["bytes"] == 16 << 20
        for words in (("--socket", two, "--tag", "three"), ("--socket", served.folder / "x", "--tag", "x", "--subdir", ".."),
                      ("--socket", served.folder / "x", "--tag", "x", "--subdir", "missing")):
            served.run("export", *words, image, code=1)
        served.run("export", "--remove", "--socket", served.one, image)
        with pytest.raises(Gone):
            guest.front.number(1)
    served.run("export", "--remove", "--socket", served.one, image, code=1)
    assert [each["tag"] for each in served.status()["exports"]] == ["two"]
    everything = json.loads(served.run("status"))
    assert str(image) in [each["device"] for each in everything]
    assert "vhost-user" in served.run("status", "-u", image)
    served.stop()


def test_orphans_are_freed(served):
    """Nobody but guests knows an inode: what the last one lets go of is free, at once and after a death."""
    served.start()
    with Guest(served.one) as guest:
        use(guest, "first")
        before = served.status()["space"]
        node, fh = use(guest, "f")
        guest.write(node, fh, bytes(100_000))
        guest.unlink(ROOT, "f")
        os.kill(served.serving(), signal.SIGKILL)
        assert guest.read(node, fh, 0, 1) == b"\0"
        assert served.status()["space"]["inodes"] == before["inodes"] + 1
    assert eventually(lambda: served.status()["space"]["inodes"], before["inodes"]) == before["inodes"]
    assert served.status()["space"]["free"] == before["free"]
    served.pool.log.write_text("")
    served.stop()


def test_nobody_else_controls_it(served):
    """The socket is its user's alone; a root without CAP_SYS_ADMIN, as in a container that has the folder, is nobody."""
    served.start()
    sockets = [path for path in os.listdir("/run/daxfuse") if path.endswith(".guests")] if os.geteuid() == 0 else []
    for path in sockets:
        assert os.stat(f"/run/daxfuse/{path}").st_mode & 0o777 == 0o600
    if os.geteuid() == 0:
        done = subprocess.run([served.pool.bin_dir / "daxfuse", "umount", served.pool.image], user=65534, group=65534,
                              capture_output=True)
        assert done.returncode == 1 and served.is_answering()
        for words in (["status"], ["export", "--remove", "--socket", served.one], ["restart"], ["umount"]):
            done = subprocess.run(["setpriv", "--bounding-set=-sys_admin", served.pool.bin_dir / "daxfuse", *words,
                                   served.pool.image], capture_output=True, text=True)
            assert done.returncode == 1 and "peration not permitted" in done.stderr, (words, done)
            assert served.is_answering() and served.status()["exports"]
    served.stop()


@pytest.mark.parametrize("options, text", [
    (["allow_other"], "needs a mount point"), (["direct=all"], "needs a mount point"), (["nosuid"], "needs a mount point"),
    (["views=on"], "needs a mount point"), (["io_uring"], "needs a mount point"), (["remount"], "needs a mount point"),
    (["export=/s"], "TAG is missing")])
def test_what_makes_no_sense(served, options, text):
    done = subprocess.run(served.command(*options), capture_output=True, text=True)
    assert done.returncode and (text in done.stderr or "no io_uring" in done.stderr), done.stderr
    assert not served.one.exists()


def test_the_pool_is_taken(served):
    """While it is served so it can't be mounted, nor served once more."""
    served.start()
    assert b"" != subprocess.run(served.command(exports=[]), capture_output=True).stderr
    done = subprocess.run([served.pool.bin_dir / "daxfuse", served.pool.image, served.pool.point], capture_output=True)
    assert done.returncode and not os.path.ismount(served.pool.point)
    assert served.is_answering()
    served.stop()


def test_a_process_that_always_dies(served):
    """It is given up, guests hear of it, and nothing is left behind."""
    served.start()
    with Guest(served.one) as guest:
        use(guest, "f")
        end = time.monotonic() + HANG
        while served.daemon.poll() is None and time.monotonic() < end:
            with contextlib.suppress(ProcessLookupError, AssertionError, KeyError):
                os.kill(served.serving(), signal.SIGSEGV)
        assert served.daemon.wait(HANG) == 32
        with pytest.raises((Gone, OSError, AssertionError)):
            guest.front.number(1)
    assert "no process can serve" in served.pool.log.read_text()
    served.daemon = None
    served.pool.log.write_text("")
    for core in served.pool.folder.glob("core*"):
        core.unlink()
    served.start()
    with Guest(served.one) as guest:
        guest.lookup(ROOT, "f")
    served.stop()
