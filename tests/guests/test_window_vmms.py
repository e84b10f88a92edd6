# SPDX-License-Identifier: BSD-3-Clause
"""VMMs with a DAX window that are killed, hang up, do not answer, or answer what is none."""

import errno
import json
import os
import signal
import struct
import subprocess
import sys
import time

import pytest

from functional.conftest import make_pool  # noqa: F401 (fixture)
from guests.windowed import (UNITS, attach, dialect, error_of, guest, units, until, window_export)  # noqa: F401 (fixtures)
from restart.task import children
from support import vhost
from support.pool import MIB
from support.vhost import (QEMU, ROOT, SHMEM_MAP, UNIT, Guest, WindowGuest)


VMM = """
import sys
sys.path.insert(0, {tests!r})
from support.vhost import *
guest = WindowGuest({path!r}, {dialect}, {size})
node, _, fh = guest.create(ROOT, "f")
for i in range(4):
    guest.write(node, fh, b"x" * MIB, 2 * i * MIB)
    guest.setup(node, i * UNIT, i * UNIT, writes=True)
guest.unlink(ROOT, "f")
guest.store(0, b"stored")
print("ready", flush=True)
while True:
    guest.setup(node, 0, 5 * UNIT if False else 0, writes=True)
    guest.remove(3 * UNIT)
    guest.setup(node, 3 * UNIT, 3 * UNIT)
"""


def test_a_vmm_that_is_killed(window_export, attach, report, pool, dialect):
    """All that its guest held is let go of, in the middle of mapping; the next one is served."""
    path = window_export(dialect)
    before = pool.free()
    code = VMM.format(tests=str(__file__).rsplit("/", 2)[0], path=str(path), dialect=dialect.name.upper(),
                      size=UNITS * UNIT)
    vmm = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert vmm.stdout.readline() == "ready\n"
        assert report(path)["window"]["units"] >= 3
        vmm.send_signal(signal.SIGKILL)
    finally:
        vmm.kill()
        vmm.wait()
        vmm.stdout.close()
    until(lambda: not report(path)["connected"])
    until(lambda: report(path)["window"]["units"] == 0 == report(path)["window"]["files"])
    until(lambda: pool.free() == before)
    guest = attach(dialect, path=path)
    node, _, fh = guest.create(ROOT, "g")
    guest.write(node, fh, b"bytes")
    guest.setup(node)
    assert guest.load(0, 5) == b"bytes"


HANGS_UP = """
import sys
sys.path.insert(0, {tests!r})
from support.vhost import *
guest = WindowGuest({path!r}, {dialect}, {size})
node, _, fh = guest.create(ROOT, "f")
guest.write(node, fh, b"mine" * 1000)
guest.setup(node, 0, 0, writes=True)
guest.unlink(ROOT, "f")
guest.window.channel.shutdown(socket.SHUT_RDWR)
guest.front.disconnect()
print("ready", flush=True)
for line in sys.stdin:
    print(guest.load(0, 4).decode(), flush=True)
    guest.store(0, b"mine" * (UNIT // 4))
"""


def start_hanging_up(path, dialect):
    """A VMM that maps a unit and closes its connection: a process that goes on with it."""
    code = HANGS_UP.format(tests=str(__file__).rsplit("/", 2)[0], path=str(path), dialect=dialect.name.upper(),
                           size=UNITS * UNIT)
    vmm = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert vmm.stdout.readline() == "ready\n"
    return vmm


def end_vmm(vmm):
    vmm.kill()
    vmm.wait()
    vmm.stdin.close()
    vmm.stdout.close()


def test_a_vmm_that_cannot_be_seen(make_pool, socket_dir):
    """The daemon is in a container, in which the VMM has no number: nobody knows when it ends, so what it has mapped
    stays the files' as long as the mount."""
    pool = make_pool(size=64 * MIB)
    path = socket_dir / "unseen"
    wrapper = subprocess.Popen(["unshare", "--fork", "--pid", "--mount-proc", "--kill-child",
                                pool.bin_dir / "daxfuse", pool.image, pool.point, "-f"])
    until(lambda: children(wrapper.pid))
    enter = ["nsenter", "--pid", "--mount", "--target", str(children(wrapper.pid)[0])]
    until(lambda: subprocess.run([*enter, "mountpoint", "-q", pool.point]).returncode == 0)

    def run(*words):
        return subprocess.run([*enter, pool.bin_dir / "daxfuse", *map(str, words)], check=True, capture_output=True,
                              text=True).stdout

    run("export", "--socket", path, "--tag", "t", "--window", UNITS * UNIT, "--vmm", "qemu", pool.point)
    vmm = start_hanging_up(path, QEMU)

    def window():
        return json.loads(run("status", pool.point))["exports"][0]

    until(lambda: not window()["connected"])
    end_vmm(vmm)
    time.sleep(0.2)
    with pytest.raises((vhost.Gone, OSError, AssertionError)):
        WindowGuest(path, QEMU, UNITS * UNIT)
    assert window()["window"]["units"] == 1
    run("export", "--remove", "--socket", path, pool.point)
    subprocess.run([*enter, "umount", pool.point], check=True)
    assert wrapper.wait(60) == 0
    pool.fsck()


@pytest.mark.parametrize("removed", [False, True], ids=["", "removed"])
def test_a_vmm_that_only_hangs_up(make_pool, socket_dir, dialect, removed):
    """It lives, and its guest uses what is mapped: that is nobody else's before it ends. Then the next one is served."""
    pool = make_pool(size=64 * MIB)
    pool.mount()
    path = socket_dir / "hangs"
    pool.run("daxfuse", "export", "--socket", path, "--tag", "t", "--window", UNITS * UNIT, "--vmm", dialect.name,
             pool.point)
    free = pool.free()

    def window():
        return json.loads(pool.run("daxfuse", "status", pool.point))["exports"][0]

    vmm = start_hanging_up(path, dialect)
    try:
        until(lambda: not window()["connected"])
        assert window()["window"]["units"] == 1
        if removed:
            pool.run("daxfuse", "export", "--remove", "--socket", path, pool.point)
        else:
            with pytest.raises((vhost.Gone, OSError, AssertionError)):
                WindowGuest(path, dialect, UNITS * UNIT)
        with open(pool.point / "other", "wb") as other:
            with pytest.raises(OSError):
                while True:
                    other.write(b"o" * MIB)
                    other.flush()
        for _ in range(2):
            vmm.stdin.write("\n")
            vmm.stdin.flush()
            assert vmm.stdout.readline() == "mine\n"
        assert set((pool.point / "other").read_bytes()) == {ord("o")}
        os.unlink(pool.point / "other")
    finally:
        end_vmm(vmm)
    until(lambda: pool.free() == free)
    if not removed:
        assert window()["window"]["units"] == 0
        guest = WindowGuest(path, dialect, UNITS * UNIT)
        guest.close()
    pool.umount()
    pool.fsck()


def test_an_export_that_is_removed(window_export, dialect, pool, report):
    """Its window is emptied, as the VMM and the guest go on."""
    path = window_export(dialect)
    guest = WindowGuest(path, dialect, UNITS * UNIT)
    try:
        node, _, fh = guest.create(ROOT, "f")
        guest.write(node, fh, b"bytes")
        guest.setup(node, writes=True)
        pool.run("daxfuse", "export", "--remove", "--socket", path, pool.point)
        until(lambda: not guest.window.pieces)
    finally:
        guest.close()


def test_a_vmm_that_never_answers(window_export, dialect, pool, report):
    """Its guest waits; others, and the end of the export, do not."""
    path = window_export(dialect)
    guest = WindowGuest(path, dialect, UNITS * UNIT)
    node, _, fh = guest.create(ROOT, "f")
    guest.write(node, fh, b"bytes")
    guest.window.hold.clear()
    body = struct.pack("5Q", vhost.NO_HANDLE, 0, UNIT, 1, 0)
    guest.queue.chain([guest.header(vhost.SETUPMAPPING, node, len(body)), body], 16)
    guest.queue.offer(0)
    until(lambda: guest.window.waiting)
    assert report(path)["window"]["units"] == 1
    with Guest(window_export(dialect), protocol=vhost.MQ | vhost.REPLY_ACK) as other:
        assert other.getattr(ROOT)
    pool.run("daxfuse", "export", "--remove", "--socket", path, pool.point)
    until(lambda: report(path) is None)
    guest.close()


def test_answers_that_are_none(window_export, dialect, report):
    """The channel is not used any more; the guest gets errors, not more."""
    path = window_export(dialect)
    for i, answer in enumerate((b"", b"x" * 20, struct.pack("=IIIQ", 99, 5, 8, 0), struct.pack("=IIIQ", SHMEM_MAP, 1, 8, 0),
                   struct.pack("=IIIQ", SHMEM_MAP, 5, 4, 0))):
        guest = WindowGuest(path, dialect, UNITS * UNIT)
        guest.window.answer = answer
        node, _, fh = guest.create(ROOT, f"f{i}")
        guest.write(node, fh, b"bytes")
        assert error_of(guest.setup, node) == errno.EIO
        assert guest.read(node, fh) == b"bytes"
        guest.close()
        until(lambda: not report(path)["connected"])
