# SPDX-License-Identifier: BSD-3-Clause
"""Control sockets in one folder, of daemons that know nothing of each other."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from support.direct import socket_of
from support.pool import HANG

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")


def is_alive(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        return connection.connect_ex(str(path)) == 0


def children(pid):
    found = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [inner for child in found for inner in children(child)]


@pytest.fixture
def daemons(request, bin_dir, huge_dir):
    """start() -> a daemon that is process 1 of a namespace of its own, as in a container."""
    started = []

    def start():
        folder = huge_dir / f"{request.node.name}-{len(started)}"
        (folder / "mnt").mkdir(parents=True)
        with open(folder / "pool", "wb") as file:
            file.truncate(64 << 20)
        subprocess.run([bin_dir / "mkfs.daxfuse", "-q", folder / "pool"], check=True)
        process = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", bin_dir / "daxfuse", folder / "pool",
             folder / "mnt", "-f"], stdin=subprocess.DEVNULL)
        started.append(process)
        end = time.monotonic() + HANG
        inside = f"/proc/{{}}/root{folder}/mnt"
        while True:
            assert process.poll() is None and time.monotonic() < end
            pids = children(process.pid)
            if pids and os.path.ismount(inside.format(pids[0])):
                return process, Path(inside.format(pids[0]))
            time.sleep(0.01)

    yield start
    for process in started:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_two_with_one_number(daemons):
    """Both are number 1 where they are; each has a socket, and listens there."""
    paths = []
    for _ in range(2):
        _, point = daemons()
        paths.append(socket_of(point))
    assert len(set(paths)) == 2
    assert all(is_alive(path) for path in paths)


def test_what_a_killed_daemon_leaves_is_removed(daemons, make_pool):
    process, point = daemons()
    path = Path(socket_of(point))
    process.send_signal(signal.SIGKILL)
    process.wait()
    while is_alive(path):
        time.sleep(0.01)
    assert path.exists()
    pool = make_pool()
    assert not path.exists()
    assert is_alive(socket_of(pool.point))
    kept = Path(socket_of(pool.point))
    make_pool()
    assert kept.exists() and is_alive(kept)
    pool.umount()
    assert not kept.exists()
