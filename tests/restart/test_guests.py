# SPDX-License-Identifier: BSD-3-Clause
"""Exports outlive the serving process: the guest sees a pause, and each request is executed once."""

import contextlib
import errno
import json
import os
import resource
import signal
import struct
import subprocess
import threading
import time
import traceback
from pathlib import Path

import pytest

from guests.conftest import socket_dir  # noqa: F401 (a fixture)
from support.pool import MIB
from support.process import eventually, fails
from support.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE
from support.vhost import GET_FEATURES, ROOT, SET_MEM_TABLE, SET_VRING_CALL, VERSION, Gone, Guest

from restart.kill import Killer
from restart.mount import RestartPool
from restart.task import children
from restart.test_answers import Held as HeldAnswers

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="traces and kills the daemon")


@pytest.fixture
def pool(make_pool):
    pool = make_pool(size=256 * MIB)
    pool.serve()
    return pool


@pytest.fixture
def export(pool, socket_dir):
    path = socket_dir / "guest.sock"
    pool.run("daxfuse", "export", "--socket", path, "--tag", "t", pool.point)
    return path


def report(pool, path):
    exports = json.loads(pool.run("daxfuse", "status", pool.point))["exports"]
    return next(each for each in exports if Path(each["socket"]).name == path.name)


def restart(pool):
    pool.run("daxfuse", "restart", pool.point)


ENDS = pytest.mark.parametrize("end", [RestartPool.kill_serving, restart], ids=["killed", "restarted"])


@ENDS
def test_a_guest_goes_on(pool, export, end):
    """What it knows and has open, also of files without a name; nobody connects anew."""
    with Guest(export) as guest:
        folder, _ = guest.mkdir(ROOT, "folder")
        node, _, fh = guest.create(folder, "gone")
        guest.write(node, fh, b"before")
        guest.unlink(folder, "gone")
        before = report(pool, export)
        for turn in range(3):
            end(pool)
            assert guest.read(node, fh, 0, 6) == b"before"
            guest.write(node, fh, b"after", 10 * turn + 6)
            assert guest.getattr(node)["size"] == 10 * turn + 11
            guest.release(*guest.create(folder, f"new{turn}")[::2])
            assert (pool.point / "folder" / f"new{turn}").exists()
        after = report(pool, export)
        assert after["connected"] and after["kept"] and after["connections"] == 1
        assert after["nodes"] == before["nodes"] + 3 and after["files"] == before["files"]
        guest.release(node, fh)
        guest.forget(node)
        with fails("ESTALE"):
            guest.getattr(node)
    pool.umount()
    pool.fsck()


@ENDS
def test_front_ends_come_and_go_after_it(pool, export, end):
    with Guest(export) as guest:
        guest.create(ROOT, "f")
    end(pool)
    assert eventually(lambda: report(pool, export)["files"], 0) == 0
    with Guest(export) as guest:
        node, _ = guest.lookup(ROOT, "f")
        end(pool)
        assert guest.getattr(node)["size"] == 0
    with Guest(export) as guest:
        with fails("ESTALE"):
            guest.getattr(node)


def test_one_that_was_removed_stays_so(pool, export):
    with Guest(export) as guest:
        guest.create(ROOT, "f")
        pool.run("daxfuse", "export", "--remove", "--socket", export, pool.point)
        pool.kill_serving()
        assert json.loads(pool.run("daxfuse", "status", pool.point))["exports"] == []
        with pytest.raises(Gone):
            guest.front.number(GET_FEATURES)


def test_many(pool, socket_dir):
    """As many as there may be, some of them connected. Each has many descriptors."""
    _, hard = resource.prlimit(pool.supervisor, resource.RLIMIT_NOFILE)
    resource.prlimit(pool.supervisor, resource.RLIMIT_NOFILE, (256, hard))
    paths = [socket_dir / f"{i}.sock" for i in range(64)]
    for path in paths:
        pool.run("daxfuse", "export", "--socket", path, "--tag", path.stem, pool.point)
    guests = [Guest(path, memory=4 * MIB) for path in paths[::6]]
    files = [guest.create(ROOT, f"f{i}") for i, guest in enumerate(guests)]
    for _ in range(2):
        pool.kill_serving()
        for guest, (node, _, fh) in zip(guests, files):
            guest.write(node, fh, b"x")
    assert json.loads(pool.run("daxfuse", "status", pool.point))["exports"] == 64
    for guest in guests:
        guest.close()


def test_a_queue_that_was_stopped(pool, export):
    """It goes on where it was, when it is started again by another process."""
    with Guest(export) as guest:
        node, _, fh = guest.create(ROOT, "f")
        base = guest.queue.stop()
        assert base == guest.queue.next_avail
        time.sleep(0.1)  # the answer is out, and the message is done
        pool.kill_serving()
        guest.queue.start(base)
        guest.write(node, fh, b"x")
        time.sleep(0.1)
        pool.kill_serving()
        assert guest.queue.stop() == guest.queue.next_avail


def test_a_message_that_is_cut_short(pool, export):
    """The connection is ended, as nobody knows what either side has heard; the next one is served."""
    with Guest(export) as guest:
        node, _, fh = guest.create(ROOT, "f")
        guest.front.socket.sendall(struct.pack("III", SET_MEM_TABLE, VERSION, 40))
        time.sleep(0.2)
        pool.kill_serving()
        with pytest.raises(Gone):
            guest.front.read(1)
    with Guest(export) as guest:
        assert guest.lookup(ROOT, "f")
        assert report(pool, export)["files"] == 0


def test_given_up(pool, export):
    """When nobody serves any more a VMM is not left waiting."""
    for pid in (pool.supervisor, pool.wait_for_serving()):
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    guest = Guest(export)
    killer = Killer(pool.supervisor, pool.folder / "kills", signal=int(signal.SIGSEGV), least=0, most=2)
    with pytest.raises(Gone):
        guest.front.read(1)
    killer.stop()
    assert "no process can serve" in pool.log.read_text()
    pool.log.write_text("")
    guest.close()
    subprocess.run(["umount", pool.point], check=True, timeout=60)
    pool.daemon.wait(30)
    pool.daemon = None


def fill(fd):
    """An eventfd, to which others write, too: while it does not block, or it would be us who wait."""
    while True:
        try:
            os.write(fd, struct.pack("Q", (1 << 64) - 2))
            return
        except BlockingIOError:
            with contextlib.suppress(BlockingIOError):
                os.read(fd, 8)


@pytest.mark.parametrize("which", ["call", "kick"])
def test_notifications_that_block(pool, export, which):
    """A VMM has the same open files: nobody waits for one that it has made block."""
    with Guest(export) as guest, pool.limit(60):
        fd = getattr(guest.queue, which)
        if which == "call":
            fill(fd)
        os.set_blocking(fd, True)
        pool.kill_serving()
        assert os.listdir(pool.point) == []
        pool.run("daxfuse", "restart", pool.point)
        assert os.listdir(pool.point) == []
        pool.umount()


def test_restarts_while_a_guest_is_set_up(pool, export):
    """A message is carried out before the process is replaced, or taken by the next one."""
    with Guest(export) as guest:
        stop = threading.Event()

        def talk():
            while not stop.is_set():
                guest.front.must(SET_VRING_CALL, struct.pack("Q", 1), [guest.queue.call])

        thread = threading.Thread(target=talk)
        thread.start()
        for _ in range(10):
            pool.run("daxfuse", "restart", pool.point)
        stop.set()
        thread.join()
        assert guest.getattr(ROOT) and report(pool, export)["connections"] == 1


def test_an_export_is_added_once(pool, socket_dir):
    path = socket_dir / "new"
    words = ["--socket", path, "--tag", "new", pool.point]
    for command, is_done in ((words, path.exists), (["--remove", *words[:2], pool.point], lambda: not path.exists())):
        held = HeldAnswers(pool)
        process = subprocess.Popen([pool.bin_dir / "daxfuse", "export", *command], stderr=subprocess.PIPE)
        assert eventually(is_done, True)
        time.sleep(0.1)
        held.kill()
        assert process.wait(30) == 0, process.stderr.read()
        process.stderr.close()
    assert json.loads(pool.run("daxfuse", "status", pool.point))["exports"] == []


def test_read_only_remount_is_refused(pool, export):
    done = subprocess.run([pool.bin_dir / "daxfuse", "-o", "remount,ro", pool.image, pool.point],
                          capture_output=True, text=True)
    assert done.returncode and "exports" in done.stderr
    pool.run("daxfuse", "export", "--remove", "--socket", export, pool.point)


# ---- once

class Held:
    """The serving process can't answer what changes names or data: it waits for those who tell its kernel."""

    def __init__(self, pool, seconds=60):
        self.pids = children(pool.wait_for_serving())
        self.tracer = subprocess.Popen(
            ["strace", "-qq", "-o", "/dev/null", "-e", "trace=write,writev", "-e",
             f"inject=write,writev:delay_enter={seconds}000000", *[word for pid in self.pids for word in ("-p", str(pid))]],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not all(f"TracerPid:\t{self.tracer.pid}\n" in Path(f"/proc/{pid}/status").read_text()
                      for pid in self.pids):
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tracer.kill()
        self.tracer.wait()


@pytest.fixture
def other(pool, socket_dir):
    """A second guest: it sees at once what the first one does."""
    path = socket_dir / "other.sock"
    pool.run("daxfuse", "export", "--socket", path, "--tag", "other", "--cache", "none", pool.point)
    with Guest(path) as guest:
        yield guest


def sees(guest, name):
    """The inode, or None."""
    try:
        return guest.lookup(ROOT, name)[1]["ino"]
    except OSError as error:
        assert error.errno == errno.ENOENT
        return None


def ask_held(pool, ask, is_done):
    """What ask(), a guest's, returns: the process that has executed it is killed before it can answer."""
    answer = []

    def run():
        try:
            answer.append((0, ask()))
        except OSError as error:
            answer.append((error.errno, None))

    with Held(pool):
        thread = threading.Thread(target=run)
        thread.start()
        assert eventually(is_done, True)
        time.sleep(0.05)
        assert not answer, "it was not held"
        pool.kill_serving()
    thread.join()
    [(error, value)] = answer
    assert not error, os.strerror(error)
    return value


def test_a_name_is_made_once(pool, export, other):
    with Guest(export) as guest:
        node, attr = ask_held(pool, lambda: guest.mkdir(ROOT, "made"), lambda: sees(other, "made") is not None)
        assert attr["ino"] == os.stat(pool.point / "made").st_ino == node


@pytest.mark.parametrize("access", [os.O_RDWR, os.O_WRONLY])
def test_a_file_is_created_once(pool, export, other, access):
    """And is open once."""
    with Guest(export) as guest:
        node, _, fh = ask_held(pool, lambda: guest.create(ROOT, "made", flags=access | os.O_EXCL),
                               lambda: sees(other, "made") is not None)
        guest.write(node, fh, b"x")
        assert report(pool, export)["files"] == 1
        guest.release(node, fh)
        assert report(pool, export)["files"] == 0
    pool.umount()
    pool.fsck()


def test_a_name_is_removed_once(pool, export, other):
    (pool.point / "f").touch()
    with Guest(export) as guest:
        guest.lookup(ROOT, "f")
        ask_held(pool, lambda: guest.unlink(ROOT, "f"), lambda: sees(other, "f") is None)


def test_the_host_hears_of_other_names(pool, export, other):
    """Of a file that has lost one of two names: also if that was before the process died."""
    (pool.point / "f").touch()
    os.link(pool.point / "f", pool.point / "second")
    assert os.stat(pool.point / "second").st_nlink == 2
    with Guest(export) as guest:
        ask_held(pool, lambda: guest.unlink(ROOT, "f"), lambda: sees(other, "f") is None)
        assert os.stat(pool.point / "second").st_nlink == 1


def test_the_host_appends_behind_it(pool, export, other):
    """A write that was made, and is repeated, has made the file longer all the same."""
    fd = os.open(pool.point / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"host,")
    with Guest(export) as guest:
        node, _ = guest.lookup(ROOT, "log")
        theirs, _ = other.lookup(ROOT, "log")
        fh = guest.open(node)
        ask_held(pool, lambda: guest.write(node, fh, b"guest,", 5), lambda: other.getattr(theirs)["size"] == 11)
        os.write(fd, b"host")
    os.close(fd)
    assert (pool.point / "log").read_bytes() == b"host,guest,host"


def test_names_are_exchanged_once(pool, export, other):
    (pool.point / "a").write_text("a")
    (pool.point / "b").write_text("b")
    with Guest(export) as guest:
        node, _ = guest.lookup(ROOT, "a")
        ask_held(pool, lambda: guest.rename(ROOT, "a", ROOT, "b", flags=RENAME_EXCHANGE),
                 lambda: sees(other, "b") == node)
    assert ((pool.point / "a").read_text(), (pool.point / "b").read_text()) == ("b", "a")


def test_what_another_does_meanwhile_stays(pool, export, other):
    """A write that is executed and not answered is not written again over what came after it."""
    with Guest(export) as guest:
        node, _, fh = guest.create(ROOT, "f")
        guest.write(node, fh, b"old")
        theirs, _ = other.lookup(ROOT, "f")
        their_fh = other.open(theirs, os.O_RDWR)
        ask_held(pool, lambda: guest.write(node, fh, b"one"), lambda: other.read(theirs, their_fh, 0, 3) == b"one")
        assert guest.read(node, fh, 0, 3) == b"one"


def test_nothing_is_answered_untold(pool, export, other):
    """A process that is about to be replaced tells its kernel nothing more, and so answers no change of a guest."""
    assert not (pool.point / "two").exists()  # as the host's kernel believes for an hour
    with Guest(export) as guest, Held(pool, seconds=2):
        first = threading.Thread(target=guest.mkdir, args=(ROOT, "one"))
        first.start()
        assert eventually(lambda: sees(other, "one") is not None, True)
        ending = threading.Thread(target=restart, args=(pool,))
        ending.start()
        time.sleep(0.5)
        other.mkdir(ROOT, "two")
        assert (pool.point / "two").exists()
        first.join()
        ending.join()
        assert (pool.point / "one").exists()


def work(guest, folder, seconds, mistakes):
    """Each of these fails if it is executed twice, or not at all."""
    end, i = time.monotonic() + seconds, 0
    node, _ = guest.mkdir(ROOT, folder)
    try:
        while time.monotonic() < end:
            i += 1
            made, _, fh = guest.create(node, f"f{i}", flags=os.O_RDWR | os.O_EXCL)
            guest.write(made, fh, b"%d" % i)
            guest.link(made, node, f"l{i}")
            guest.rename(node, f"f{i}", node, f"g{i}", flags=RENAME_NOREPLACE)
            guest.unlink(node, f"l{i}")
            assert guest.read(made, fh, 0, 8) == b"%d" % i and guest.getattr(made)["nlink"] == 1
            guest.release(made, fh)
            guest.forget(made, 2)  # told by create and link
            if i % 3:
                guest.unlink(node, f"g{i}")
    except (OSError, AssertionError) as error:
        mistakes.append((folder, i, traceback.format_exc()))
    return i


def test_killed_under_load(pool, socket_dir):
    """Three guests work, the process is killed: nobody has an error, nothing is lost or left."""
    mistakes, threads, guests = [], [], []
    for name in "abc":
        path = socket_dir / f"{name}.sock"
        pool.run("daxfuse", "export", "--socket", path, "--tag", name, pool.point)
        guests.append(Guest(path))
        threads.append(threading.Thread(target=work, args=(guests[-1], name, 10, mistakes)))
        threads[-1].start()
    kills = 0
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.05 + kills % 7 * 0.03)
        pool.kill_serving()
        kills += 1
    for thread in threads:
        thread.join()
    assert not mistakes, "\n".join(f"{folder} {i} {text}" for folder, i, text in mistakes)
    assert kills > 5
    exports = json.loads(pool.run("daxfuse", "status", pool.point))["exports"]
    assert [each["files"] for each in exports] == [0, 0, 0]
    for guest in guests:
        guest.close()
    for name in "abc":
        for file in (pool.point / name).iterdir():
            assert file.name[0] == "g" and file.read_text() == file.name[1:] and int(file.name[1:]) % 3 == 0
    pool.umount()
    pool.fsck()
