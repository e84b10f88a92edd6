# SPDX-License-Identifier: BSD-3-Clause
"""fusermount3 goes on when the process that has started it is killed."""

import os
import shutil
import subprocess
import time
from pathlib import Path

from support.process import USER, become, eventually
from support.pool import HANG

from restart.task import Task, children, kill_quietly


def mounts(point):
    table = Path("/proc/self/mountinfo").read_text().splitlines()
    return sum(line.split()[4] == str(point) for line in table)


def test_helper_that_comes_late(make_pool):
    pool = make_pool()
    slow = pool.folder / "slow"
    slow.mkdir()
    (slow / "fusermount3").write_text(f'#!/bin/sh\nsleep 0.6\nexec {shutil.which("fusermount3")} "$@"\n')
    (slow / "fusermount3").chmod(0o755)
    for path in (pool.folder, pool.image, pool.point, pool.log):
        os.chown(path, USER, USER)
    daemon = subprocess.Popen([pool.bin_dir / "daxfuse", pool.image, pool.point, "-f"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              env={**os.environ, "PATH": f"{slow}:{os.environ['PATH']}"},
                              preexec_fn=lambda: become(USER))
    pool.daemon = daemon
    pool.started.add(daemon.pid)

    def use():
        become(USER)
        os.statvfs(pool.point)
        subprocess.run(["fusermount3", "-u", pool.point], check=True)

    with pool.limit(60):
        assert eventually(lambda: any(children(pid) for pid in children(daemon.pid)), True)
        (victim,) = children(daemon.pid)
        pool.started.add(victim)
        kill_quietly(victim)
        assert eventually(lambda: mounts(pool.point), 1) == 1
        time.sleep(1.5)
        assert mounts(pool.point) == 1
        task = Task("user", use)
        pool.tasks.append(task)
        task.result(30)
        assert daemon.wait(HANG) == 0
    pool.daemon = None
