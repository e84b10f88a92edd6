# SPDX-License-Identifier: BSD-3-Clause
"""Threads that serve a guest have fewer rights than the daemon (tests/unit/base/confine.c: what they can't do)."""

import contextlib
import json
import os
import signal
import threading
from pathlib import Path

import pytest

from support import vhost
from support.direct import Program
from support.pool import MIB
from support.vhost import ROOT, Guest

NAMES = {"daxfuse-guest", "daxfuse-queue"}
SANITIZED = os.environ.get("DAXFUSE_PRESET") in ("asan", "tsan")


def threads_of(pid):
    """{name: [what /proc says of each thread with it]}."""
    found = {}
    for path in Path(f"/proc/{pid}/task").glob("*/status"):
        status = dict(line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line)
        found.setdefault(status["Name"], []).append(status)
    return found


def filters_of_ours():
    """How many are put before all processes here."""
    return int(dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines()
                    if ":\t" in line)["Seccomp_filters"])


def check(pid):
    """Who serves a guest has no capability, can't get one, and is filtered; nobody else is."""
    threads, around = threads_of(pid), filters_of_ours()
    for name, all_of_it in threads.items():
        for status in all_of_it:
            more = int(status["Seccomp_filters"]) - around
            if name in NAMES:
                assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0 and status["NoNewPrivs"] == "1"
                assert more > 0 or SANITIZED, name
            else:
                assert more == 0 or os.environ.get("DAXFUSE_PROPERTIES"), name
                assert int(status["CapEff"], 16) or os.geteuid(), name
    return threads


@pytest.fixture
def state(pool):
    return lambda: json.loads(pool.run("daxfuse", "status", pool.point))


def test_threads_of_a_guest(export, connect, state, report, mnt):
    """From their beginning, also of queues that are set up anew; the host's threads are as before."""
    path = export()
    guest = connect(path)
    node, _, fh = guest.create(ROOT, "f")
    guest.write(node, fh, b"x" * 1000)
    pid = state()["mount"]["pid"]
    threads = check(pid)
    assert len(threads["daxfuse-guest"]) >= 1 and len(threads["daxfuse-queue"]) >= 2
    base = guest.queue.stop()
    guest.queue.start(base)
    assert guest.read(node, fh, 0, 1) == b"x"
    check(pid)
    assert report(path)["confined"] is not SANITIZED
    assert (mnt / "f").read_bytes() == b"x" * 1000


def test_nothing_is_missing(export, connect, state, mnt):
    """All that a guest can ask for is done without a call that is refused."""
    before = state()["counters"]["calls_refused"]
    guest = connect(export())
    node, _, fh = guest.create(ROOT, "f")
    for at in range(0, 8 * MIB, 64 << 10):
        guest.write(node, fh, os.urandom(64 << 10), at)
    guest.fsync(node, fh)
    guest.setattr(node, vhost.SIZE, size=0)
    for i in range(300):
        guest.release(*guest.create(ROOT, f"f{i}")[::2])
    assert len(os.listdir(mnt)) == 301
    for i in range(300):
        guest.unlink(ROOT, f"f{i}")
    guest.close()
    assert state()["counters"]["calls_refused"] == before == 0


@contextlib.contextmanager
def mapped_by_child(pool, path, answers):
    """A process that has all of the file mapped; its number."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        Program(pool.point, answers=answers).open(path).map()
        os.write(tell, b"x")
        signal.pause()
        os._exit(0)
    try:
        assert os.read(ready, 1) == b"x"
        yield pid
    finally:
        os.close(ready)
        os.close(tell)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="maps the device")
@pytest.mark.parametrize("how", ["answers", "mute", "stopped"])
def test_programs_that_map(export, connect, state, pool, mnt, how):
    """A guest's thread asks them to let go, waits, and finds out that one is stopped; the host is served meanwhile."""
    path = mnt / "f"
    path.write_bytes(bytes(4 * MIB))
    guest = connect(export())
    node, _ = guest.lookup(ROOT, "f")
    waits = state()["mappings"]["counters"]["waited"]
    with mapped_by_child(pool, path, how != "mute") as pid:
        if how == "stopped":
            os.kill(pid, signal.SIGSTOP)
            os.waitpid(pid, os.WUNTRACED)
        truncating = threading.Thread(target=guest.setattr, args=(node, vhost.SIZE), kwargs={"size": 0})
        truncating.start()
        while truncating.is_alive():
            assert os.listdir(mnt) == ["f"]
        truncating.join()
        assert os.stat(path).st_size == 0
    check(state()["mount"]["pid"])
    after = state()
    assert after["counters"]["calls_refused"] == 0
    if how == "stopped":
        assert after["mappings"]["counters"]["waited"] == waits


def test_threads_that_are_made_later(make_pool, socket_dir):
    """The host's threads are started by one of its own, also when it is a guest's that waits for a program."""
    pool = make_pool()
    pool.mount("max_threads=1")
    path = socket_dir / "s"
    pool.run("daxfuse", "export", "--socket", path, "--tag", "t", pool.point)
    [(pool.point / name).write_bytes(bytes(4 * MIB)) for name in ("f", "g")]
    before = json.loads(pool.run("daxfuse", "status", pool.point))["mount"]["pid"]
    with Guest(path) as guest, Program(pool.point, answers=False) as program:
        node, _ = guest.lookup(ROOT, "f")
        for name in ("f", "g"):
            program.open(pool.point / name).map()
        # the host's only thread waits for a program, and so do others from then on
        host = threading.Thread(target=os.truncate, args=(pool.point / "g", 0))
        host.start()
        guest.setattr(node, vhost.SIZE, size=0)
        assert os.stat(pool.point / "f").st_size == 0
        threads = check(before)
        assert len(threads["daxfuse"]) > 1
        host.join()
    pool.umount()
