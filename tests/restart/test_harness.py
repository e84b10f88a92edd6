# SPDX-License-Identifier: BSD-3-Clause
"""The killer kills, the probe's figures are added up rightly, and the model's checker sees a
call that was executed twice: on an ordinary folder, without a daemon."""

import os
import signal
import time
import types

import pytest

from restart.kill import Killer, pauses, summary
from restart.task import Flag, Task, together
from restart.workloads.names import Difference, Names

MS = 10 ** 6


def supervise(count):
    """A supervisor of children that sleep: how each ended."""
    ends = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        ends.append(os.waitpid(pid, 0)[1])
    return ends


def test_each_child_is_killed_once(tmp_path):
    task = Task("supervisor", supervise, 30)
    killer = Killer(task.pid, tmp_path / "log", count=30, most=20)
    try:
        assert task.result(60) == [signal.SIGKILL] * 30
        killer.process.wait(20)
        assert killer.failure() is None
    finally:
        killer.stop()
        task.close()
    assert len({pid for _, pid in killer.kills()}) == 30
    times = [when for when, _ in killer.kills()]
    assert all(4 * MS < b - a < 2000 * MS for a, b in zip(times, times[1:]))


def test_killer_says_that_there_is_nobody(tmp_path):
    task = Task("nobody", lambda: None)
    task.wait(10)
    killer = Killer(task.pid, tmp_path / "log", count=1)
    killer.process.wait(20)
    assert "no child" in killer.failure()
    task.close()


def test_pauses():
    samples = [(at * MS, MS // 10) for at in range(10)]
    samples[5] = (5 * MS, 40 * MS)
    samples[6:] = [(at * MS, MS // 10) for at in range(46, 60)]
    killed = [(6 * MS, 1), (50 * MS, 2)]
    assert pauses(killed, samples) == [40 * MS, MS // 10]
    assert summary([4 * MS, 40 * MS])["histogram"] == {"<=4 ms": 1, "<=64 ms": 1}


class Place:
    """As much of a pool as a workload asks for."""

    def __init__(self, path):
        self.point, self.folder = path / "mnt", path
        self.point.mkdir()


def storm(path, twice=None):
    """1,000 calls; those of one kind are done twice."""
    workload = Names(Place(path))
    workload.do_move_data = lambda: None  # an ioctl of ours
    workload.prepare()
    workload.steps = [step for step in workload.steps if step.__name__ != "<lambda>"]
    if twice:
        once = workload.call

        def call(self, wanted, what, function, *args):
            if what.startswith(twice) and wanted == 0:
                once(wanted, what, function, *args)
            return once(wanted, what, function, *args)

        workload.call = types.MethodType(call, workload)
    rounds = iter(range(3000))
    workload.check(workload.run(lambda: next(rounds, None) is not None))


def test_the_model_is_linux(memory_dir):
    storm(memory_dir)


@pytest.mark.parametrize("call", ["create", "mkdir", "symlink", "linkat", "link", "unlink", "rmdir",
                                  "rename", "removexattr", "append"])
def test_the_model_sees_what_is_done_twice(memory_dir, call):
    with pytest.raises(Difference):
        storm(memory_dir, call)


def test_together_fails_with_the_first():
    stop = Flag()

    def wait():
        while not stop:
            time.sleep(0.01)

    def fail():
        raise ValueError("wrong")

    with pytest.raises(AssertionError, match="wrong"):
        together({"one": wait, "two": fail}, 20)
