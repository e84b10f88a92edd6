# SPDX-License-Identifier: BSD-3-Clause
"""
The daemon dies under programs that verify what they do, and none of them notices.
DAXFUSE_RESTART_KILLS=1000 kills as often (in all, beneath the workloads) and gives them
more to do; DAXFUSE_RESTART_SEED makes other sequences.
"""

import contextlib
import errno
import json
import os
import random
import resource
import signal
import stat
import subprocess
import time

import pytest

from support.pool import MIB, is_mounted
from support.process import USER, become, eventually, fails, run_as
from support.syscalls import AT_STATX_DONT_SYNC, RENAME_EXCHANGE, link_fd, renameat2, statx
from vm.load import WRITERS

from restart.harness import kill_under, under_load
from restart.kill import Killer, summary
from restart.task import Flag, Task, children, is_running, kill_quietly
from restart.workloads.acknowledged import Acknowledged
from restart.workloads.fio import Fio
from restart.workloads.git import Git
from restart.workloads.listing import Listing
from restart.workloads.locks import Locks
from restart.workloads.mapped import Mapped
from restart.workloads.moving import Moving
from restart.workloads.names import Names
from restart.workloads.postgres import Postgres, programs
from restart.workloads.quota import Quota
from restart.workloads.reading import Reading
from restart.workloads.rsync import Rsync
from restart.workloads.sqlite import Sqlite
from restart.workloads.unlinked import Unlinked

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="aborts FUSE connections")

KILLS = int(os.environ.get("DAXFUSE_RESTART_KILLS", 0))
LONG = KILLS > 0
SEED = int(os.environ.get("DAXFUSE_RESTART_SEED", 1))
SIZE = 2048 * MIB

MEDDLED = [f"n{i}" for i in range(12)]

# What the kernel answers where nobody serves any more.
GONE = (errno.EIO, errno.ENOTCONN, errno.ECONNABORTED)


def names(pool):
    return [Names(pool, 1), Names(pool, 2, dax=True), Names(pool, 3),
            Unlinked(pool, 1), Unlinked(pool, 2, dax=True)]


def shared(pool):
    return [Listing(pool, scale=1 if LONG else 0.05), Locks(pool), Quota(pool), Mapped(pool),
            Acknowledged(pool, 1)]


def copies(pool):
    scale = 1 if LONG else 0.25
    return [Fio(pool, 1, scale), Fio(pool, 2, scale, dax=True), Git(pool, scale=scale),
            Rsync(pool, scale=scale)]


def databases(pool):
    loads = [Sqlite(pool), Acknowledged(pool, 2, dax=True)]
    return [*loads, Postgres(pool)] if programs() else loads


GROUPS = (names, shared, copies, databases)


@pytest.mark.parametrize("group", GROUPS)
def test_nobody_notices(make_pool, group, record_property):
    kills = KILLS // len(GROUPS) if LONG else 15
    pool = make_pool(SIZE)
    pool.serve()
    found = summary(kill_under(pool, group(pool), kills, seed=SEED))
    record_property("pauses", json.dumps(found))
    print(group.__name__, json.dumps(found))
    assert found["max_ms"] < 20_000


def hold_back_answers(pid, when, ms=2):
    """Every answer of this process takes so much longer: before it is given, or after."""
    return subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=writev",
         "-e", f"inject=writev:delay_{when}={ms * 1000}", "-p", str(pid)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("when", ["enter", "exit"])
def test_killed_before_the_answer(make_pool, when):
    """Nearly each of these kills meets requests that are executed and not answered; or answered
    and still on the books."""
    pool = make_pool(SIZE)
    pool.serve()
    under_load(pool, [Names(pool, 1), Names(pool, 2, dax=True), Names(pool, 3), Names(pool, 4),
                      Unlinked(pool, 1)], 60 + KILLS, kill_before_answers(pool, when))


@pytest.mark.parametrize("when", ["enter", "exit"])
def test_killed_before_the_size_is_known(make_pool, when):
    """What changed the size and was not answered, or was answered while what the last process
    has left was made forgotten: the kernel knows the end, and appends there."""
    pool = make_pool(SIZE)
    pool.serve()
    under_load(pool, [Moving(pool, 1), Moving(pool, 2, dax=True), Moving(pool, 3, asks=True),
                      Moving(pool, 4, dax=True, asks=True)], 60 + KILLS,
               kill_before_answers(pool, when, least=30))


def test_size_is_known_though_nobody_was_answered(make_pool):
    """The program that has changed it is gone with the daemon: the kernel learns of it all the
    same, or the next one that appends does so at the old end."""
    pool = make_pool()
    path = pool.serve() / "file"
    for round_ in range(20):
        path.write_bytes(b"x" * 20_000)
        tracer = hold_back_answers(pool.wait_for_serving(), "enter", ms=2000)
        try:
            task = Task("truncates", os.truncate, path, 100 + round_)
            pool.tasks.append(task)
            time.sleep(0.2)
            pid = pool.kill_serving()
            # Stopped when it has had the request sent again, and not read it yet.
            time.sleep(round_ / 2000)
            os.kill(pid, signal.SIGSTOP)
            task.kill()
            time.sleep(0.003)
            os.kill(pid, signal.SIGCONT)
        finally:
            tracer.kill()
            tracer.wait(20)
            task.close()
        with pool.limit(60):
            (pool.point / "other").touch()  # all that is sent again has come
            believed = eventually(lambda: statx(path, flags=AT_STATX_DONT_SYNC).size, 100 + round_)
            assert believed == path.stat().st_size


def kill_before_answers(pool, when, least=12):
    """For under_load()."""

    def kill_often(look):
        rng = random.Random(f"{SEED} {when}")
        for _ in range(max(least, KILLS // 20)):
            tracer = hold_back_answers(pool.wait_for_serving(), when)
            try:
                time.sleep(rng.uniform(0.05, 0.15))
                pool.kill_serving()
            finally:
                tracer.kill()
                tracer.wait(20)
            look()

    return kill_often


@pytest.mark.parametrize("dax", [True, False], ids=["dax", "cached"])
def test_killed_while_it_answers_reads(make_pool, dax):
    """The kernel copies from memory that the new process has not touched yet."""
    pool = make_pool(512 * MIB, small_pages=True)
    pool.serve()
    loads = [Reading(pool, scale=1 if LONG else 0.25, dax=dax)]
    kill_under(pool, loads, max(15, KILLS // 20), seed=SEED)


# ---- life and death of the daemon's processes


def wait_until_over(pool, process, seconds=30):
    """Until the command has ended, or its mount answers; whether it is mounted."""
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        if is_mounted(pool.point):
            os.statvfs(pool.point)
            return True
        time.sleep(0.002)
    assert process.poll() is not None, "neither mounts nor fails"
    return is_mounted(pool.point) and process.returncode == 0


def kill_newborn(pid, count, seconds=10):
    """SIGKILL to so many processes that serve below `pid`, each as soon as it is seen."""
    dead = set()
    end = time.monotonic() + seconds
    while len(dead) < count and time.monotonic() < end and is_running(pid):
        for child in children(pid):
            if child not in dead and is_running(child):
                kill_quietly(child)
                dead.add(child)
    return len(dead)


def test_killed_while_mounting(make_pool):
    """It mounts nevertheless, or fails and leaves nothing; it does not hang."""
    pool = make_pool()
    pool.serve()
    (pool.point / "f").write_bytes(b"x" * MIB)
    pool.umount()
    mounted = killed = 0
    for i in range(60 if LONG else 12):
        with pool.limit(60), open(pool.log, "ab") as log:
            pool.daemon = subprocess.Popen([pool.bin_dir / "daxfuse", pool.image, pool.point, "-f"],
                                           stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            pool.started.add(pool.daemon.pid)
            killed += kill_newborn(pool.daemon.pid, i % 4 + 1)
            if wait_until_over(pool, pool.daemon):
                mounted += 1
                assert (pool.point / "f").read_bytes() == b"x" * MIB
                pool.umount()
            else:
                pool.daemon.wait(30)
                pool.daemon = None
                assert not is_mounted(pool.point), "a dead mount is left"
        pool.fsck()
    print(f"{killed} killed while mounting, {mounted} mounts all the same")
    assert mounted and killed > mounted
    pool.serve()
    assert (pool.point / "f").read_bytes() == b"x" * MIB


def test_killed_while_mounting_in_the_background(make_pool):
    """The command that users wait for returns, whatever dies below it."""
    pool = make_pool()
    for i in range(30 if LONG else 6):
        with pool.limit(60):
            command = subprocess.Popen([pool.bin_dir / "daxfuse", pool.image, pool.point],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            pool.started.add(command.pid)
            supervisor = wait_for_child(command)
            if supervisor:
                pool.started.add(supervisor)
                kill_newborn(supervisor, i % 3 + 1, seconds=5)
            status = command.wait(30)
            if status == 0:
                os.statvfs(pool.point)
                pool.umount_by_command()
            assert not is_mounted(pool.point)
        pool.fsck()


def wait_for_child(process):
    while process.poll() is None:
        if found := children(process.pid):
            return found[0]
    return None


def test_killed_while_unmounting(make_pool, monkeypatch):
    """The mount goes, the daemon goes, nothing is lost."""
    # A leak checker is a child of the supervisor, too.
    monkeypatch.setenv("ASAN_OPTIONS", os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0")
    pool = make_pool()
    killed = 0
    for i in range(60 if LONG else 10):
        pool.serve()
        data = random.Random(i).randbytes(300_000)
        (pool.point / f"f{i % 5}").write_bytes(data)
        fd = os.open(pool.point, os.O_TMPFILE | os.O_RDWR)
        os.write(fd, data)
        os.close(fd)
        with pool.limit(90):
            killer = Killer(pool.supervisor, pool.folder / f"kills{i}", count=i % 5 + 1, seed=i,
                            least=0, most=20)
            if i % 2:  # the program above takes a while to start
                eventually(lambda: bool(killer.kills()), True)
            pool.umount_by_command()
            assert not is_mounted(pool.point)
            killer.stop()
            pool.daemon.wait(60)
            pool.daemon = None
        killed += len(killer.kills())
        pool.fsck()
        pool.serve()
        assert (pool.point / f"f{i % 5}").read_bytes() == data
        pool.umount()
    print(f"{killed} killed while unmounting")
    assert killed


class Writers:
    """The writers of tests/vm/load.py, which end when the mount is gone."""

    def __init__(self, pool):
        self.pool = pool
        self.folder = pool.point / "written"
        self.stop = Flag()
        self.folder.mkdir()
        self.busy = [Flag() for _ in WRITERS]
        self.tasks = [Task(kind.__name__, self.write, number, kind)
                      for number, kind in enumerate(WRITERS, 1)]
        pool.tasks += self.tasks
        assert eventually(lambda: all(self.busy), True)

    def write(self, number, kind):
        """How many operations were acknowledged."""
        writer = kind(str(self.folder), number)
        writer.prepare()
        count = 0
        try:
            while not self.stop:
                writer.run(count)
                count += 1
                self.busy[number - 1].set()
        except OSError as error:
            assert error.errno in GONE, error
        return count

    def finish(self):
        """None hangs."""
        self.stop.set()
        return [task.result(30) for task in self.tasks]

    def check(self, counts):
        for (number, kind), count in zip(enumerate(WRITERS, 1), counts):
            assert count > 0
            wrong = list(kind(str(self.folder), number).check(count - 1))
            assert not wrong, wrong[:10]


def clear_away(pool):
    """What is left of a mount whose supervisor died: it can be unmounted, and all ends."""
    if is_mounted(pool.point):
        pool.detach()
    end = time.monotonic() + 30
    while pool.ours() and time.monotonic() < end:
        if pool.daemon is not None:
            pool.daemon.poll()
        time.sleep(0.01)
    assert eventually(pool.ours, []) == []
    pool.daemon.wait(10)
    pool.daemon = None


@pytest.mark.parametrize("victims", ["supervisor", "supervisor, then child",
                                     "child, then supervisor"])
def test_supervisor_killed(make_pool, victims):
    """The mount may go or stay; who uses it does not hang, and what was acknowledged is there."""
    pool = make_pool()
    pool.serve()
    with pool.limit(120):
        writers = Writers(pool)
        time.sleep(0.3)
        processes = {"supervisor": pool.supervisor, "child": pool.wait_for_serving()}
        for victim in victims.split(", then "):
            os.kill(processes[victim], signal.SIGKILL)
        time.sleep(0.5)
        counts = writers.finish()
        clear_away(pool)
    pool.fsck()
    pool.serve()
    writers.check(counts)


def leave_no_cores(pool):
    for pid in (pool.supervisor, pool.wait_for_serving()):
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))


def test_crashes_again_and_again(make_pool):
    """A daemon that can't live is given up: errors instead of a hang, and a word about it."""
    pool = make_pool()
    pool.serve()
    before = len(pool.log.read_text())
    with pool.limit(180):
        writers = Writers(pool)
        time.sleep(0.2)
        leave_no_cores(pool)
        killer = Killer(pool.supervisor, pool.folder / "kills", signal=int(signal.SIGSEGV), least=0,
                        most=2)
        wait_until_given_up(pool, writers)
        killer.stop()
        assert len(killer.kills()) >= 3
        counts = writers.finish()
        with pytest.raises(OSError) as caught:
            os.stat(pool.point / "written/new")
        assert caught.value.errno in GONE
        said = pool.log.read_text()[before:]
        assert str(pool.image) in said and len(said.splitlines()) < 200, said
        subprocess.run(["umount", pool.point], check=True, timeout=60)
        pool.daemon.wait(30)
        pool.daemon = None
        assert eventually(pool.ours, []) == []
    pool.log.write_text("")
    pool.fsck()
    pool.serve()
    writers.check(counts)


def test_crashes_now_and_then(make_pool, monkeypatch):
    """A few crashes are no reason to give up, and nobody notices them."""
    for sanitizer in ("ASAN_OPTIONS", "TSAN_OPTIONS"):  # they shall not make it an exit
        monkeypatch.setenv(sanitizer, os.environ.get(sanitizer, "") +
                           ":handle_segv=0:handle_abort=0:handle_sigfpe=0")
    pool = make_pool(SIZE)
    pool.deaths = {signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE}
    pool.serve()
    leave_no_cores(pool)

    def crash(look):
        for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGSEGV):
            pool.kill_serving(number)
            time.sleep(0.3)
            look()

    under_load(pool, [Names(pool, 1), Names(pool, 2, dax=True), Unlinked(pool)], 60, crash)


def wait_until_given_up(pool, writers):
    """All writers end by themselves when the kernel answers in the daemon's place."""
    end = time.monotonic() + 90
    while not all(task.has_ended() for task in writers.tasks):
        assert time.monotonic() < end, f"still restarted, or hangs:\n{pool.log_tail()}"
        time.sleep(0.05)


def test_restarted_under_load(make_pool):
    """daxfuse restart: a new process serves, and nobody notices."""
    pool = make_pool(SIZE)
    pool.serve()

    def restart(look):
        slowest = 0
        for count in range(1, 41 if LONG else 7):
            before = pool.status()["mount"]
            start = time.monotonic()
            pool.run("daxfuse", "restart", pool.point)
            slowest = max(slowest, time.monotonic() - start)
            after = pool.status()["mount"]
            assert after["pid"] != before["pid"] and after["starts"] == count + 1, after
            assert not is_running(before["pid"])
            time.sleep(random.Random(count).uniform(0, 0.3))
            look()
        return slowest

    slowest = under_load(pool, [Names(pool, 1), Names(pool, 2, dax=True), Unlinked(pool, 1),
                                Locks(pool), Sqlite(pool)], 60, restart)
    print(f"slowest daxfuse restart: {slowest * 1000:.0f} ms")


def test_stopped_is_not_dead(make_pool):
    """SIGSTOP: all wait, the process stays the same, and goes on."""
    pool = make_pool(SIZE)
    pool.serve()

    def halt(look):
        pid = pool.wait_for_serving()
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(8 if LONG else 2)
            assert pool.serving() == pid
        finally:
            os.kill(pid, signal.SIGCONT)
        look()
        mount = pool.status()["mount"]
        assert mount["pid"] == pid and mount["starts"] == 1

    under_load(pool, [Names(pool), Acknowledged(pool)], 60, halt)


def test_killed_while_stopped(make_pool):
    pool = make_pool(SIZE)
    pool.serve()

    def halt_and_kill(look):
        for _ in range(5):
            pid = pool.wait_for_serving()
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.1)
            assert pool.kill_serving() != pid
            time.sleep(0.1)
            look()

    under_load(pool, [Names(pool), Unlinked(pool)], 60, halt_and_kill)


def test_systemd_keeps_the_mount(make_pool):
    """The descriptors are in the manager's store while nobody serves."""
    pool = make_pool(SIZE)
    pool.under_systemd = True
    pool.serve()
    loads = [Names(pool, 1), Names(pool, 2, dax=True), Sqlite(pool), Unlinked(pool)]
    found = kill_under(pool, loads, max(15, KILLS // 10), seed=SEED)
    print("systemd", json.dumps(summary(found)))


def test_service_ends_and_starts(make_pool):
    """SIGTERM unmounts, and leaves nothing in the store that the next start would take."""
    pool = make_pool()
    pool.under_systemd = True
    for _ in range(3):
        pool.serve()
        pool.kill_serving()
        (pool.point / "f").touch()
        with pool.limit(60):
            os.kill(pool.daemon.pid, signal.SIGTERM)
            pool.daemon.wait(30)
            pool.daemon = None
        assert not is_mounted(pool.point) and eventually(pool.ours, []) == []
        pool.fsck()


# ---- programs that are killed themselves


def meddle(folder, seed):
    """Calls that change names, without an end; each may fail."""
    rng = random.Random(seed)
    while True:
        one, other = (f"{folder}/{rng.choice(MEDDLED)}" for _ in range(2))
        with contextlib.suppress(OSError):
            rng.choice((
                lambda: os.close(os.open(one, os.O_CREAT | os.O_EXCL | os.O_WRONLY)),
                lambda: os.mkdir(one),
                lambda: os.unlink(one),
                lambda: os.rmdir(one),
                lambda: os.link(one, other),
                lambda: os.symlink("x", one),
                lambda: renameat2(one, other, 0),
                lambda: renameat2(one, other, RENAME_EXCHANGE),
                lambda: link_tmpfile(folder, one)))()


def link_tmpfile(folder, path):
    fd = os.open(folder, os.O_TMPFILE | os.O_WRONLY)
    try:
        link_fd(fd, path)
    finally:
        os.close(fd)


def assert_consistent(folder):
    """What the kernel remembers of names is what the daemon lists."""
    with os.scandir(folder) as entries:
        listed = {entry.name: entry.inode() for entry in entries}
    inodes = list(listed.values())
    for name in MEDDLED:
        try:
            info = os.lstat(f"{folder}/{name}")
        except FileNotFoundError:
            assert name not in listed, f"{name} is listed, and not found"
            continue
        assert listed.get(name) == info.st_ino, f"{name}: {info.st_ino}, listed {listed.get(name)}"
        if not stat.S_ISDIR(info.st_mode):
            assert info.st_nlink == inodes.count(info.st_ino), f"{name}: {info.st_nlink} links"


def test_programs_are_killed_too(make_pool):
    """What a killed program had under way happened or did not; nobody sees both, and no
    inode is left behind."""
    pool = make_pool()
    pool.serve()
    folder = pool.point / "meddled"
    folder.mkdir()
    empty = os.statvfs(pool.point).f_ffree
    rng = random.Random(SEED)
    for round_ in range(max(12, KILLS // 5)):
        with pool.limit(60):
            tasks = [Task(f"meddler {i}", meddle, folder, f"{SEED} {round_} {i}") for i in range(4)]
            pool.tasks = tasks
            tracer = hold_back_answers(pool.wait_for_serving(), "enter")
            time.sleep(rng.uniform(0.03, 0.08))
            # Stopped somewhere on its way into service, it keeps requests waiting.
            pid = pool.kill_serving()
            time.sleep(rng.uniform(0, 0.012))
            os.kill(pid, signal.SIGSTOP)
            for task in tasks:
                task.kill()
            time.sleep(0.003)
            os.kill(pid, signal.SIGCONT)
            for task in tasks:
                task.close()
            tracer.kill()
            tracer.wait(20)
            assert_consistent(folder)
    with pool.limit(60):
        for name in os.listdir(folder):
            path = folder / name
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()
        assert eventually(lambda: os.statvfs(pool.point).f_ffree, empty) == empty


def test_user_mount(make_pool):
    """What fusermount3 has mounted survives, too."""
    pool = make_pool()
    for path in (pool.folder, pool.image, pool.point, pool.log):
        os.chown(path, USER, USER)
    run_as(USER, pool.run, "mkfs.daxfuse", "-f", "-q", pool.image)
    stop, ready = Flag(), Flag()

    def use():
        become(USER)
        command = [pool.bin_dir / "daxfuse", pool.image, pool.point]
        subprocess.run(command, check=True, capture_output=True)
        load = Names(pool)
        load.prepare()
        mount = pool.status()["mount"]
        ready.set()
        result = load.run(lambda: not stop)
        assert pool.status()["mount"]["starts"] > mount["starts"]
        pool.umount_by_command()
        return result

    with pool.limit(120):
        task = Task("user", use)
        pool.tasks.append(task)
        assert eventually(lambda: bool(ready) or task.has_ended(), True) and not task.has_ended()
        pool.supervisor = pool.find_supervisor()
        for _ in range(max(8, KILLS // 20)):
            pool.kill_serving()
            time.sleep(0.1)
            assert not task.has_ended() or task.result(0)
        stop.set()
        task.result(60)
    assert pool.fsck_summary()["clean"]


@pytest.mark.parametrize("option", ["ro", "dax=always", "dax=never"])
def test_mount_options(make_pool, option):
    """What was asked for at mount is so for the next process."""
    pool = make_pool(SIZE)
    pool.serve()
    data = random.Random(1).randbytes(3 * MIB)
    (pool.point / "f").write_bytes(data)
    pool.umount()
    pool.serve(option)
    with pool.limit(60):
        before = pool.status()
        for _ in range(5):
            pool.kill_serving()
            fd = os.open(pool.point / "f", os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.read(fd, len(data)) == data
            os.close(fd)
            if option == "ro":
                with fails("EROFS"):
                    (pool.point / "new").touch()
        after = pool.status()
    for key in ("dax", "atime", "read only", "read_only", "transport", "max_threads"):
        assert after["mount"].get(key) == before["mount"].get(key)
    assert after["mount"]["starts"] == 6
