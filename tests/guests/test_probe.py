# SPDX-License-Identifier: BSD-3-Clause
"""tests/guests/probe, which tries any back end of virtio-fs: what it says of ours."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

PROBE = Path(__file__).parent / "probe"


def probe(path):
    return subprocess.run([sys.executable, PROBE, path], capture_output=True, text=True, timeout=300)


def test_all_is_well(export, mnt):
    done = probe(export())
    checks = json.loads(done.stdout)["checks"]
    assert done.returncode == 0 and len(checks) == 7 and set(checks.values()) == {"ok"}, done
    assert os.listdir(mnt) == []


def test_it_sees_what_fails(export):
    """Nothing can be made there."""
    done = probe(export("--readonly"))
    assert done.returncode == 1 and "Read-only" in json.loads(done.stdout)["checks"]["folder"], done


def test_it_sees_that_nobody_is_there(socket_dir):
    path = str(socket_dir / "s")
    assert "No such file" in probe(path).stderr
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        closing = threading.Thread(target=lambda: listener.accept()[0].close())
        closing.start()
        done = probe(path)
        closing.join()
    assert done.returncode == 1 and "closed the connection" in done.stderr, done
