# SPDX-License-Identifier: BSD-3-Clause
"""A guest's window outlives the serving process: what the VMM has mapped stays the file's."""

import errno
import json
import os
import struct
import threading
import time
from pathlib import Path

import pytest

from guests.conftest import socket_dir  # noqa: F401 (a fixture)
from support import vhost
from support.pool import MIB
from support.vhost import ALIOTH, CROSVM, QEMU, ROOT, SHMEM_MAP, SHMEM_UNMAP, SIZE, UNIT, WindowGuest

from restart.mount import RestartPool

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="kills the daemon")
DIALECTS = {dialect.name: dialect for dialect in (QEMU, CROSVM, ALIOTH)}
UNITS = 16


@pytest.fixture
def pool(make_pool):
    pool = make_pool(size=128 * MIB)
    pool.serve()
    return pool


@pytest.fixture(params=DIALECTS)
def dialect(request):
    return DIALECTS[request.param]


@pytest.fixture
def guest(pool, socket_dir, dialect):
    path = socket_dir / "guest.sock"
    pool.run("daxfuse", "export", "--socket", path, "--tag", "t", "--window", UNITS * UNIT, "--vmm", dialect.name,
             pool.point)
    guest = WindowGuest(path, dialect, UNITS * UNIT)
    yield guest
    guest.close()


def window_of(pool):
    return json.loads(pool.run("daxfuse", "status", pool.point))["exports"][0]["window"]


def restart(pool):
    pool.run("daxfuse", "restart", pool.point)


def until(condition):
    """What happens soon; a test that hangs is ended from outside."""
    while not condition():
        time.sleep(0.01)


ENDS = pytest.mark.parametrize("end", [RestartPool.kill_serving, restart], ids=["killed", "restarted"])


def fill(path):
    """All the space there is."""
    with open(path, "wb") as file:
        try:
            while True:
                file.write(b"o" * MIB)
                file.flush()
        except OSError as error:
            assert error.errno == errno.ENOSPC


@ENDS
def test_a_window_goes_on(pool, guest, end):
    """Loads and stores, and nobody else's bytes: of a file, and of one without a name."""
    nodes = []
    for name in ("f", "gone"):
        node, _, fh = guest.create(ROOT, name)
        for i in range(4):
            guest.write(node, fh, name.encode() * (MIB // len(name)), i * MIB)
        at = len(nodes) * 2 * UNIT
        guest.setup(node, 0, at, writes=True)
        guest.setup(node, UNIT, at + UNIT)
        guest.release(node, fh)
        nodes.append(node)
    guest.unlink(ROOT, "gone")
    for turn in range(2):
        end(pool)
        guest.store(10 + turn, b"x")
        assert guest.load(0, 3) == b"fff" and guest.load(3 * UNIT, 4) == b"gone"
        assert (pool.point / "f").read_bytes()[10:11 + turn] == b"x" * (turn + 1)
        assert window_of(pool)["units"] == 4 and window_of(pool)["usable"]
    fill(pool.point / "other")
    os.truncate(pool.point / "f", 0)
    guest.forget(nodes[1])
    fill(pool.point / "more")
    assert guest.load(0, 2 * UNIT) == bytes(2 * UNIT) and guest.load(2 * UNIT, 4) == b"gone"
    guest.store(0, b"z" * UNIT)
    guest.store(2 * UNIT, b"z" * UNIT)
    for name in ("other", "more"):
        assert set((pool.point / name).read_bytes()) <= {ord("o")}
    maps = len([each for each in guest.window.asked if each[0] == SHMEM_MAP])
    assert maps == 4
    guest.remove((0, 4 * UNIT))
    assert window_of(pool)["units"] == 0 and not guest.window.pieces
    (pool.point / "other").unlink()
    guest.setattr(nodes[0], SIZE, size=5)
    guest.setup(nodes[0])
    assert guest.load(0, 6) == bytes(6)
    guest.close()
    pool.umount()
    pool.fsck()


@pytest.mark.parametrize("what", ["mapping", "unmapping"])
def test_killed_while_the_vmm_is_asked(pool, guest, what):
    """The request is carried out by the next process, which does not know what the VMM has done."""
    node, _, fh = guest.create(ROOT, "f")
    guest.write(node, fh, b"bytes")
    window = guest.window
    body, opcode = struct.pack("5Q", vhost.NO_HANDLE, 0, UNIT, 1, 0), vhost.SETUPMAPPING
    if what == "unmapping":
        guest.setup(node)
        body, opcode = struct.pack("=IQQ", 1, 0, UNIT), vhost.REMOVEMAPPING
    window.hold.clear()
    outs = guest.queue.chain([guest.header(opcode, node, len(body)), body], 16)
    guest.queue.offer(0)
    until(lambda: window.waiting)
    answer = threading.Timer(0.3, window.hold.set)  # while nobody is there, or later
    answer.start()
    pool.kill_serving()
    answer.join()
    head, written = guest.queue.wait()
    assert (head, written) == (0, 16)
    assert bytes(guest.front.memory[outs[0][0] + 4:outs[0][0] + 8]) == bytes(4)
    if what == "mapping":
        assert guest.load(0, 5) == b"bytes"
        guest.remove(0)
    assert not window.pieces and window_of(pool)["units"] == 0
    guest.setup(node)
    assert guest.load(0, 5) == b"bytes"


def test_a_connection_that_ends_with_it(pool, guest, dialect):
    """A message is under way, so nobody knows what the VMM has heard: the next process empties the window, as far
    as that VMM can without a connection (QEMU can't), and serves it anew."""
    node, _, fh = guest.create(ROOT, "f")
    guest.write(node, fh, b"bytes")
    for i in range(2):
        guest.setattr(node, SIZE, size=2 * UNIT)
        guest.setup(node, i * UNIT, i * UNIT, writes=True)
    guest.front.socket.sendall(b"\1")
    time.sleep(0.1)
    pool.kill_serving()
    if dialect is QEMU:
        until(lambda: not window_of(pool)["usable"])
        assert window_of(pool)["units"]
    else:
        until(lambda: window_of(pool)["units"] == 0 and not guest.window.pieces)
    guest.close()
    with_another = WindowGuest(guest.path, dialect, UNITS * UNIT)
    node, _ = with_another.lookup(ROOT, "f")
    with_another.setup(node)
    assert with_another.load(0, 5) == b"bytes"
    with_another.close()
    pool.umount()
    pool.fsck()


def test_a_vmm_that_died_meanwhile(pool, guest):
    """Its units are let go of when the next process finds that nobody is there."""
    before = pool.free() if hasattr(pool, "free") else None
    node, _, fh = guest.create(ROOT, "f")
    guest.write(node, fh, b"bytes")
    guest.setup(node, writes=True)
    guest.unlink(ROOT, "f")
    guest.close()
    pool.kill_serving()
    until(lambda: window_of(pool)["units"] == 0)
    if before:
        until(lambda: pool.free() == before)
