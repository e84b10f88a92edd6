# SPDX-License-Identifier: BSD-3-Clause
"""Programs that ask for what makes no sense, for too much, at the wrong time, or not at all; and
files that change while they are asked for."""

import errno
import fcntl
import json
import os
import random
import resource
import signal
import socket
import struct
import subprocess
import time

import pytest

from support.direct import (EAGER, HELLO, LET_GO, MAP, PAGE, PIECES, PIN, PROMOTE, READ, SAYS_MOUNT, TO_END,
                            UNIT, UNMAP_RANGE, UNPIN, VERSION, WRITE, Map, Message, Program, error_of)
from support.pool import MIB
from support.process import USER, Child, eventually, fails, run_as

from restart.test_remount import remount
from direct.test_mapping import make, pattern, status
from direct.test_revocation import (COLLAPSE, INSERT, clear_log, fallocate, fill, mute, waits,  # noqa: F401
                                    restart)


def make_scattered(path, pages):
    """A file of single pages between holes, too few in each unit to gather them; where they are."""
    places = [i // 40 * UNIT + i % 40 * 2 * PAGE for i in range(pages)]
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    for at in places:
        os.pwrite(fd, pattern(PAGE, at // PAGE), at)
    os.close(fd)
    return places


# ---- whom a program has connected to

def test_the_daemon_says_which_mount_it_serves(pool):
    """Another server may have sent the program there. All places of the mount have its number."""
    number = os.stat(pool.point).st_dev
    with Program(pool.point) as program:
        assert program.welcome.flags & SAYS_MOUNT
        assert program.welcome.cookie == os.major(number) << 32 | os.minor(number)
        restart(pool)
        clear_log(pool)
        program.connect(program.session)
        assert program.welcome.cookie == os.major(number) << 32 | os.minor(number)


# ---- answers

def test_what_does_not_fit_in_an_answer_stays_pinned(pool, mute):
    """The program has it mapped since it asked before."""
    path = pool.point / "f"
    places = make_scattered(path, 100)
    file = mute.open(path)
    for at in places:
        file.map(at, PAGE, access=WRITE, pages=1)
    assert len(file.ask(access=READ, pages=1)) == PIECES
    os.truncate(path, 0)
    fill(pool)
    assert all(file.load(at, PAGE) == pattern(PAGE, at // PAGE) for at in places)


def test_a_part_of_a_page_that_is_let_go_of_stays(pool, mute):
    path = make(pool.point / "f", 4 * MIB)
    file = mute.open(path)
    file.map(access=EAGER, pages=1)
    fcntl.ioctl(file.fd, UNMAP_RANGE, struct.pack("QQQ", MIB + 100, 8 * MIB, TO_END))
    restart(pool)
    os.truncate(path, 0)
    fill(pool)
    assert file.load(MIB, 100) == pattern(4 * MIB)[MIB:MIB + 100]
    clear_log(pool)


def test_mapping_the_end_while_bytes_are_inserted(pool):
    """What is behind the end is zeroed: not what has just moved there."""
    size = 9 * PAGE + 100
    path = make(pool.point / "f", size)

    def map_the_end():
        program = Program(pool.point)
        file = program.open(path)
        while True:
            error_of(file.map, 9 * PAGE, access=READ, pages=1)

    child = Child(map_the_end)
    try:
        for _ in range(150):
            fallocate(path, INSERT, 0, PAGE)
            assert path.read_bytes() == bytes(PAGE) + pattern(size)
            fallocate(path, COLLAPSE, 0, PAGE)
            assert path.read_bytes() == pattern(size)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)


# ---- too much

def test_a_sparse_file_of_a_pebibyte(pool, program):
    path = pool.point / "f"
    path.touch()
    os.truncate(path, 1 << 50)
    file = program.open(path)
    begin = time.monotonic()
    pieces = file.ask()
    assert pieces[0].length > 64 * MIB
    assert error_of(file.promote, 0, 1 << 50) == "ENOSPC"
    assert error_of(file.pin, 0, 1 << 50) == "ENOSPC"
    assert time.monotonic() - begin < 60
    os.truncate(path, 0)


def test_more_connections_than_descriptors(pool):
    """They wait, and cost nothing."""
    serving = pool.serving()
    used = len(os.listdir(f"/proc/{serving}/fd"))
    limits = resource.prlimit(serving, resource.RLIMIT_NOFILE)
    resource.prlimit(serving, resource.RLIMIT_NOFILE, (used + 10, limits[1]))
    with Program(pool.point) as program:
        path = program.path
    connections = []
    for _ in range(50):
        connections.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        connections[-1].connect(path)

    def ticks():
        with open(f"/proc/{serving}/stat") as stat:
            return sum(map(int, stat.read().rsplit(")")[1].split()[11:13]))

    before = ticks()
    time.sleep(1)
    assert (ticks() - before) / os.sysconf("SC_CLK_TCK") < 0.3
    for connection in connections:
        connection.close()
    resource.prlimit(serving, resource.RLIMIT_NOFILE, limits)
    Program(pool.point).close()


# ---- who does not answer

def test_a_mute_program_is_waited_for_once_for_all_its_files(pool, mute):
    paths = [make(pool.point / f"f{i}", 2 * MIB) for i in range(6)]
    for path in paths:
        mute.open(path).map()
    for path in paths:
        os.truncate(path, 0)
    assert 1 <= waits(pool) <= 2  # two: the second one asked within the first one's second


def test_who_does_not_connect_again_is_waited_for_once(pool, mute):
    paths = [make(pool.point / f"f{i}", 2 * MIB) for i in range(6)]
    for path in paths:
        mute.open(path).map()
    restart(pool)
    for path in paths:
        os.truncate(path, 0)
    assert 1 <= waits(pool) <= 2  # two: the second one asked within the first one's second
    clear_log(pool)


def test_what_was_cut_off_is_let_go_of_in_parts(pool, mute):
    path = make(pool.point / "f", 8 * MIB)
    file = mute.open(path)
    assert len(file.map(access=EAGER)) < 4, "units are neighbours"
    os.truncate(path, 0)
    for offset in (0, UNIT, 3 * UNIT, 2 * UNIT):
        assert status(pool)["quarantined"] > 0
        file.let_go(offset, UNIT)
    assert status(pool)["quarantined"] == 0


# ---- pins without the right to them

def test_pins_are_for_who_has_the_device(pool):
    """Else anybody could keep space from everybody, for no quota."""
    path = make(pool.point / "f", 2 * MIB)
    path.chmod(0o666)
    pool.point.chmod(0o777)

    def pin():
        fd = os.open(path, os.O_RDWR)
        fcntl.ioctl(fd, PIN, struct.pack("QQ", 0, 2 * MIB))

    with fails("EACCES"):
        run_as(USER, pin)
    pool.remount("dax=always", "direct=group=nogroup")
    run_as(USER, pin)


def test_a_pin_that_fails_leaves_the_one_before(pool, program):
    path = make(pool.point / "f", 4 * MIB)
    os.truncate(path, 1 << 40)
    file = program.open(path)
    file.map(0, 4 * MIB)
    file.pin(0, 2 * MIB)
    assert error_of(file.pin, 0, 1 << 40) == "ENOSPC"
    file.pin(0, 4 * MIB)
    file.pin(0, 4 * MIB)
    os.truncate(path, 0)
    assert status(pool)["quarantined"] == 4 * MIB
    restart(pool)
    file.unpin(0, 4 * MIB)
    file.unpin(0, 4 * MIB)
    assert error_of(file.unpin, 0, 4 * MIB) == "EINVAL"
    program.connect(program.session)
    assert eventually(lambda: status(pool)["quarantined"], 2 * MIB) == 2 * MIB
    file.unpin(0, 2 * MIB)
    assert status(pool)["quarantined"] == 0
    clear_log(pool)


# ---- the end

def test_the_daemon_is_told_to_end_while_files_are_mapped(pool, program):
    path = make(pool.point / "f", 4 * MIB)
    file = program.open(path)
    file.map(access=EAGER)
    file.store(0, b"stored")
    pool.daemon.send_signal(signal.SIGTERM)
    assert pool.daemon.wait(20) == 0
    pool.daemon = None
    file.store(6, b" after")
    program.close()
    clear_log(pool)
    pool.mount("dax=always")
    assert path.read_bytes()[:12] == b"stored after"


def test_a_lazy_unmount_while_files_are_mapped(pool, program):
    path = make(pool.point / "f", 4 * MIB)
    file = program.open(path)
    file.map(access=EAGER)
    pool.detach()
    os.ftruncate(file.fd, 2 * MIB)
    file.map(access=EAGER)
    file.store(0, b"stored")
    assert os.pread(file.fd, 6, 0) == b"stored"
    assert pool.is_alive()
    program.close()
    assert pool.daemon.wait(20) == 0
    pool.daemon = None
    pool.mount("dax=always")
    assert path.read_bytes() == b"stored" + pattern(2 * MIB)[6:]


# ---- mounts of other kinds

def test_a_read_only_mount(pool):
    path = make(pool.point / "f", 4 * MIB)
    pool.remount("dax=always", "ro")
    with Program(pool.point) as program:
        file = program.open(path, os.O_RDONLY)
        file.map()
        assert file.load(0, 4 * MIB) == pattern(4 * MIB)
        assert error_of(file.ask, access=WRITE) == "EACCES"
        restart(pool)
        program.connect(program.session)
        assert eventually(lambda: file.pieces, {}) == {}
        file.map()
        assert file.load(0, 4 * MIB) == pattern(4 * MIB)
    clear_log(pool)


KEEPERS = pytest.mark.parametrize("options", [(), ("keeper=none",)], ids=["kept", "alone"])


@KEEPERS
def test_what_is_mapped_of_a_read_only_mount_stays_locked(pool, options):
    """Nobody may write beneath it, when there is no daemon any more."""
    path = make(pool.point / "f", 4 * MIB)
    pool.remount("dax=always", "ro", *options)
    with Program(pool.point) as program:
        file = program.open(path, os.O_RDONLY)
        file.map()
        pool.kill()
        for tool in (("mkfs.daxfuse", "-f", pool.image), ("fsck.daxfuse", "-y", pool.image),
                     ("daxfuse", pool.image, pool.point)):
            done = subprocess.run([pool.bin_dir / tool[0], *tool[1:]], capture_output=True, text=True,
                                  timeout=60)
            assert done.returncode and f"(pid {os.getpid()})" in done.stderr
        pool.fsck()
        assert file.load(0, 4 * MIB) == pattern(4 * MIB)
    pool.mount("dax=always")
    clear_log(pool)


@KEEPERS
def test_a_mount_is_not_made_writable_beneath_what_reads(pool, options):
    pool.remount("dax=always", *options)
    path = make(pool.point / "f", 4 * MIB)
    before = pool.serving()
    assert remount(pool.point, True)[0] == 0
    if not options:
        assert eventually(lambda: pool.serving() not in (before, pool.daemon.pid), True) is True
    with Program(pool.point) as program:
        file = program.open(path, os.O_RDONLY)
        file.map()
        error, why = remount(pool.point, False)
        assert error == -errno.EBUSY and "programs" in why
        assert file.load(0, 4 * MIB) == pattern(4 * MIB)
        Program(pool.point).close()  # the daemon has kept its own lock
    assert eventually(lambda: remount(pool.point, False), (0, "")) == (0, "")

    def is_read_only():
        return json.loads(pool.run("daxfuse", "status", pool.point))["mount"]["read_only"]
    assert eventually(is_read_only, False) is False
    (pool.point / "g").touch()


def test_a_mount_without_a_keeper(pool):
    pool.remount("dax=always", "keeper=none")
    path = make(pool.point / "f", 4 * MIB)
    with Program(pool.point, answers=False) as program:
        program.open(path).map(access=EAGER)
        os.truncate(path, 0)
        assert status(pool)["quarantined"] == 4 * MIB
    assert eventually(lambda: status(pool)["quarantined"], 0) == 0


def test_a_user_without_a_runtime_folder(pool, monkeypatch):
    pool.point.chmod(0o777)
    pool.umount()
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    for path in (pool.image, pool.point, pool.folder):
        os.chown(path, USER, USER)

    def use():
        path = make(pool.point / "f", 4 * MIB)
        with Program(pool.point, answers=False) as program:
            assert program.path.startswith(f"/tmp/daxfuse-{USER}/")
            file = program.open(path)
            file.map(access=EAGER)
            os.truncate(path, 0)
            return file.load(0, 4 * MIB) == pattern(4 * MIB)

    run_as(USER, lambda: subprocess.run([pool.bin_dir / "daxfuse", pool.image, pool.point, "-o",
                                         "dax=always"], check=True) and None)
    try:
        assert run_as(USER, use)
    finally:
        run_as(USER, lambda: subprocess.run([pool.bin_dir / "daxfuse", "umount", "--wait", pool.point],
                                            check=True) and None)


# ---- anything at all

def number(rng, size):
    return rng.choice((0, 1, 100, PAGE, UNIT, size, size - 1, size + 1, 1 << 59, 1 << 62, 1 << 63,
                       TO_END, TO_END - PAGE + 1, rng.getrandbits(64), rng.randrange(size),
                       rng.randrange(size) // PAGE * PAGE, rng.randrange(size) // UNIT * UNIT))


def ask_for_anything(rng, program, file, size):
    n = [number(rng, size) for _ in range(5)]
    kind = rng.randrange(6)
    if kind == 0:
        error_of(fcntl.ioctl, file.fd, UNMAP_RANGE, struct.pack("QQQ", *n[:3]))
    elif kind < 4:
        call = (PIN, UNPIN, PROMOTE)[kind - 1]
        error_of(fcntl.ioctl, file.fd, call, struct.pack("QQ", *n[:2]))
    else:
        call = Map(session=rng.choice((program.session, n[0])), cookie=rng.choice((file.cookie, n[1])),
                   offset=n[2], length=n[3], start=rng.choice((0, n[4])), end=rng.choice((TO_END, n[1])),
                   access=rng.randrange(5), pages=rng.randrange(3))
        error_of(fcntl.ioctl, file.fd, MAP, call)


def test_any_numbers(pool, seed=int(os.environ.get("DAXFUSE_SEED", "0"))):
    rng = random.Random(seed)
    size = 8 * MIB + 100
    paths = [make(pool.point / f"f{i}", size) for i in range(3)]
    os.truncate(paths[2], 1 << 58)
    before = pool.serving()
    with Program(pool.point) as program:
        files = [program.open(path) for path in paths]
        for _ in range(3000):
            ask_for_anything(rng, program, rng.choice(files), size)
        os.truncate(paths[1], 0)
        clear_log(pool)
        assert pool.serving() == before
        restart(pool)
    assert eventually(lambda: status(pool)["quarantined"], 0) == 0
    clear_log(pool)


def test_any_messages(pool, seed=int(os.environ.get("DAXFUSE_SEED", "0"))):
    rng = random.Random(seed)
    path = make(pool.point / "f", 8 * MIB)
    with Program(pool.point) as program:
        program.open(path).map(access=EAGER)
        for _ in range(300):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            connection.connect(program.path)
            if rng.randrange(3):
                connection.send(bytes(Message(kind=HELLO, version=VERSION,
                                              session=rng.choice((0, program.session, rng.getrandbits(64))))))
            try:
                for _ in range(rng.randrange(8)):
                    message = bytes(Message(kind=rng.choice((LET_GO, rng.randrange(10))),
                                            cookie=rng.randrange(5), offset=number(rng, MIB),
                                            length=number(rng, MIB), grant=number(rng, MIB)))
                    connection.send(message[:rng.choice((len(message), rng.randrange(len(message))))])
            except OSError:
                pass
            connection.close()
        Program(pool.point).close()
    os.truncate(path, 0)
    assert eventually(lambda: status(pool)["quarantined"], 0) == 0
