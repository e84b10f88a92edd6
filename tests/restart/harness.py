# SPDX-License-Identifier: BSD-3-Clause
"""
Workloads on a pool whose daemon dies all the time: start them, kill, stop, look at
everything again after a remount. A workload (workloads/) is

    prepare()      makes what it works on; nobody is killed yet
    run(going)     works until going() is false and verifies everything; raises at the
                   first difference or error; returns what check() needs
    check(result)  after a remount: is everything as run() left it?

All three run in processes of their own.
"""

import time

from support.process import eventually

from restart.kill import Killer, pauses, read_samples, start_probe
from restart.task import Flag, Task

PREPARE_LIMIT = 120
STOP_LIMIT = 600  # a round of a workload, on a machine that does much else


class Work:
    """The process of one workload."""

    def __init__(self, workload, stop):
        self.workload = workload
        self.ready = Flag()
        self.stop = stop
        self.task = Task(type(workload).__name__, self._run)

    def _run(self):
        self.workload.prepare()
        self.ready.set()
        return self.workload.run(lambda: not self.stop)


def wait_until_ready(works):
    end = time.monotonic() + PREPARE_LIMIT
    while not all(work.ready for work in works):
        for work in works:
            if work.task.has_ended() and not work.ready:
                work.task.result(0)
        assert time.monotonic() < end, [work.task.name for work in works if not work.ready]
        time.sleep(0.01)


def fail_early(tasks):
    """A task that has ended meanwhile has failed."""
    for task in tasks:
        if task.has_ended():
            task.result(0)
            raise AssertionError(f"{task.name} ended before it should")


def wait_for_kills(killer, seconds, look):
    """Until the killer is done."""
    end = time.monotonic() + seconds
    while not killer.has_ended():
        look()
        assert time.monotonic() < end, f"only {len(killer.kills())} kills in {seconds:.0f} s"
        time.sleep(0.02)
    assert killer.failure() is None, killer.failure()


def under_load(pool, workloads, limit, act):
    """
    All workloads at once on a mounted pool, while act(look) does something; it calls look()
    now and then, which raises when a workload has failed. Then everything is verified,
    again after a remount. Returns what act() does.
    """
    stop = Flag()
    with pool.limit(PREPARE_LIMIT + limit + STOP_LIMIT):
        works = [Work(workload, stop) for workload in workloads]
        tasks = [work.task for work in works]
        pool.tasks += tasks
        wait_until_ready(works)
        value = act(lambda: fail_early(tasks))
        stop.set()
        results = [task.result(STOP_LIMIT) for task in tasks]
    check_after_remount(pool, workloads, results)
    return value


def kill_under(pool, workloads, kills, seed=1):
    """So many kills under these workloads; returns the pauses in ns."""
    limit = 30 + kills
    return under_load(pool, workloads, limit, lambda look: kill(pool, kills, seed, limit, look))


def kill(pool, kills, seed, limit, look):
    """So many kills, with a probe beside them; returns the pauses in ns."""
    probing, descriptors = Flag(), pool.kept_descriptors()
    samples, log = pool.folder / f"samples{seed}", pool.folder / f"kills{seed}"
    probe = start_probe(pool.point, samples, lambda: not probing)
    pool.tasks.append(probe)
    killer = Killer(pool.supervisor, log, count=kills, seed=seed)
    try:
        wait_for_kills(killer, limit, lambda: (look(), fail_early([probe])))
    finally:
        killer.stop()
    time.sleep(0.1)
    probing.set()
    probe.result(30)
    assert len(killer.kills()) == kills
    assert eventually(pool.kept_descriptors, descriptors) == descriptors
    return pauses(killer.kills(), read_samples(samples))


def check_after_remount(pool, workloads, results):
    pool.umount()
    assert pool.fsck_summary()["orphans"] == 0
    pool.serve(*pool.options)
    with pool.limit(PREPARE_LIMIT):
        tasks = [Task(f"{type(workload).__name__}.check", workload.check, result)
                 for workload, result in zip(workloads, results)]
        pool.tasks += tasks
        for task in tasks:
            task.result(PREPARE_LIMIT)
