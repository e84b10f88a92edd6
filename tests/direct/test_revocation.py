# SPDX-License-Identifier: BSD-3-Clause
"""Files that change under their mappings: who is asked, who is waited for, and that no byte of
one file is ever seen in another."""

import contextlib
import fcntl
import os
import signal
import struct

import pytest

from support.direct import EAGER, HUGE, PAGE, TO_END, UNIT, UNMAP, WRITE, Program, error_of
from support.pool import MIB
from support.process import eventually

from direct.test_mapping import make, pattern, status

PUNCH_HOLE = 3
COLLAPSE, INSERT = 8, 0x20
RANGE = 1 << 30 | 24 << 16 | 0xdf << 8 | 6


def fallocate(path, mode, offset, length):
    from support.direct import libc
    import ctypes
    fd = os.open(path, os.O_RDWR)
    try:
        if mode in (COLLAPSE, INSERT):
            fcntl.ioctl(fd, RANGE, struct.pack("IIQQ", mode, 0, offset, length))
        elif libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)):
            raise OSError(ctypes.get_errno(), "fallocate")
    finally:
        os.close(fd)


def fill(pool, name="other", seed=99):
    """Take all the space there is."""
    path = pool.point / name
    with open(path, "wb", buffering=0) as f:
        data = pattern(UNIT, seed)
        try:
            while f.write(data) == UNIT:
                pass
        except OSError:
            pass
    return path


def waits(pool):
    """How often a change has waited for a program. Not how long: that is the machine's affair, too."""
    return status(pool)["counters"]["waited"]


@pytest.fixture
def mute(pool):
    """A program that lets nothing go."""
    program = Program(pool.point, answers=False)
    yield program
    program.close()


def test_truncate_asks_and_the_space_is_free(pool, program):
    path = make(pool.point / "f", 8 * MIB)
    file = program.open(path)
    file.map(access=EAGER)
    before = os.statvfs(pool.point).f_bfree
    os.truncate(path, 2 * MIB)
    assert [m.kind for m in program.asked] == [UNMAP]
    assert os.statvfs(pool.point).f_bfree == before + 6 * MIB // 4096
    assert status(pool)["quarantined"] == 0
    assert error_of(file.ask, 4 * MIB) == "ENXIO"
    assert file.ask()


def test_what_is_not_let_go_is_not_given_to_others(pool, mute):
    path = make(pool.point / "f", 8 * MIB)
    file = mute.open(path)
    file.map(access=EAGER)
    os.truncate(path, 0)
    other = fill(pool)
    assert file.load(0, 8 * MIB) == pattern(8 * MIB)
    file.store(0, b"\xee" * 8 * MIB)
    assert b"\xee" * 64 not in other.read_bytes()
    assert status(pool)["quarantined"] == 8 * MIB
    file.let_go()
    assert status(pool)["quarantined"] == 0
    with open(other, "ab") as more:
        more.write(bytes(7 * MIB))


def test_a_mute_program_is_waited_for_once(pool, mute):
    files = [make(pool.point / f"f{i}", 4 * MIB) for i in range(2)]
    views = [mute.open(path) for path in files]
    for view in views:
        view.map()
    for _ in range(3):
        os.truncate(files[0], 0)
        assert waits(pool) == 1
        make(files[0], 4 * MIB)


@contextlib.contextmanager
def child_that_maps(pool, path, answers=False):
    """The pid of a process that has all of `path` mapped writable; killed at the end."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        program = Program(pool.point, answers=answers)
        program.open(path).map(access=EAGER)
        os.write(tell, b"x")
        signal.pause()
        os._exit(0)
    os.close(tell)
    try:
        assert os.read(ready, 1) == b"x"
        yield pid
    finally:
        os.close(ready)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_stopped_program_delays_nobody(pool):
    path = make(pool.point / "f", 4 * MIB)
    with child_that_maps(pool, path, answers=True) as pid:
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)
        os.truncate(path, 0)
        assert waits(pool) == 0
        assert status(pool)["quarantined"] == 4 * MIB
        os.kill(pid, signal.SIGCONT)
        assert eventually(lambda: status(pool)["quarantined"], 0) == 0


def test_death_ends_the_pins(pool):
    path = make(pool.point / "f", 4 * MIB)
    with child_that_maps(pool, path):
        os.truncate(path, 0)
        assert status(pool)["quarantined"] == 4 * MIB
    assert eventually(lambda: status(pool)["quarantined"], 0) == 0


def test_punch_within_a_unit_keeps_the_unit(pool, mute):
    path = make(pool.point / "f", 4 * MIB)
    file = mute.open(path)
    file.map(access=EAGER)
    fallocate(path, PUNCH_HOLE, MIB, 512 * 1024)
    expected = bytearray(pattern(4 * MIB))
    expected[MIB:MIB + 512 * 1024] = bytes(512 * 1024)
    assert path.read_bytes() == expected
    assert file.load(0, 4 * MIB) == expected
    file.store(MIB, b"again")
    assert path.read_bytes()[MIB:MIB + 5] == b"again"


def test_punch_of_whole_units(pool, program):
    path = make(pool.point / "f", 8 * MIB)
    file = program.open(path)
    file.map(access=EAGER)
    fallocate(path, PUNCH_HOLE, UNIT, UNIT)
    assert os.stat(path).st_blocks * 512 < 7 * MIB
    file.map()
    assert file.load(UNIT, UNIT) == bytes(UNIT)


@pytest.mark.parametrize("mode", [COLLAPSE, INSERT])
def test_moving_extents(pool, program, mode):
    path = make(pool.point / "f", 8 * MIB)
    file = program.open(path)
    file.map(access=EAGER)
    fallocate(path, mode, MIB, MIB)
    data = pattern(8 * MIB)
    expected = data[:MIB] + (data[2 * MIB:] if mode == COLLAPSE else bytes(MIB) + data[MIB:])
    assert path.read_bytes() == expected
    file.map(access=EAGER)
    assert file.load(0, 7 * MIB) == expected[:7 * MIB]


def test_moving_extents_under_a_mute_program_is_refused(pool, mute):
    path = make(pool.point / "f", 8 * MIB)
    file = mute.open(path)
    file.map(access=EAGER)
    with pytest.raises(OSError) as refused:
        fallocate(path, COLLAPSE, MIB, MIB)
    assert refused.value.errno == 16
    assert path.read_bytes() == file.load(0, 8 * MIB) == pattern(8 * MIB)


def test_growing_again_shows_zeroes(pool, program):
    """What was stored behind the end, in the last page, does not come back."""
    path = make(pool.point / "f", UNIT + 100)
    file = program.open(path)
    file.map(access=EAGER)
    file.store(UNIT + 100, b"behind the end")
    os.truncate(path, UNIT + 2000)
    assert path.read_bytes()[UNIT + 100:] == bytes(1900)
    assert file.load(UNIT + 100, 20) == bytes(20)


def test_growing_by_a_write_beyond_the_end(pool, program):
    path = make(pool.point / "f", UNIT + 100)
    file = program.open(path)
    file.map(access=EAGER)
    file.store(UNIT + 100, b"behind the end")
    with open(path, "r+b") as f:
        f.seek(UNIT + 300)
        f.write(b"data")
    assert path.read_bytes()[UNIT + 100:] == bytes(200) + b"data"
    file.map(UNIT, access=EAGER)
    assert file.load(UNIT + 300, 4) == b"data"


@pytest.mark.parametrize("how", ["write", "truncate", "fallocate"])
def test_growing_over_the_end_of_a_unit_makes_it_huge(pool, program, how):
    path = make(pool.point / "f", MIB)
    file = program.open(path)
    file.map(access=EAGER)
    assert file.pieces[0][0].flags & HUGE == 0
    with open(path, "r+b") as f:
        if how == "write":
            f.seek(MIB)
            f.write(pattern(MIB + 100, 3))
        elif how == "truncate":
            f.truncate(UNIT + 100)
        else:
            os.posix_fallocate(f.fileno(), 0, UNIT + 100)
    assert file.pieces == {}, "who has the pages was asked"
    file.map(access=EAGER)
    assert file.pieces[0][0].flags & HUGE
    grown = pattern(MIB + 100, 3) if how == "write" else bytes(MIB + 100)
    assert path.read_bytes() == pattern(MIB) + grown == file.load(0, UNIT + 100)


def test_unlinked_while_mapped(pool, program):
    path = make(pool.point / "f", 8 * MIB)
    file = program.open(path)
    file.map(access=EAGER)
    os.unlink(path)
    fill(pool)
    file.store(0, b"still mine")
    assert os.pread(file.fd, 10, 0) == b"still mine"
    assert file.load(MIB, MIB) == pattern(8 * MIB)[MIB:2 * MIB]


def test_renamed_over_while_mapped(pool, program):
    old, new = make(pool.point / "old", 4 * MIB, 1), make(pool.point / "new", 4 * MIB, 2)
    file = program.open(old)
    file.map(access=EAGER)
    os.rename(new, old)
    assert file.load(0, 4 * MIB) == pattern(4 * MIB, 1)
    file.store(0, b"old")
    assert old.read_bytes() == pattern(4 * MIB, 2)


def test_writes_do_not_move_what_is_mapped(pool, program):
    """A file that would become a whole unit stays in its blocks while they are mapped."""
    path = make(pool.point / "f", 100 * 1024)
    file = program.open(path)
    file.map(access=EAGER)
    with open(path, "r+b") as f:
        f.seek(100 * 1024)
        f.write(pattern(MIB, 5))
    assert not program.asked
    file.store(0, b"mapped")
    expected = b"mapped" + pattern(100 * 1024)[6:] + pattern(MIB, 5)
    assert path.read_bytes() == expected
    file.promote(0, UNIT)
    assert program.asked
    file.map(access=EAGER)
    assert path.read_bytes() == expected
    assert file.load(0, len(expected)) == expected


def test_the_dax_flag_of_a_mapped_file_stays(pool, program):
    from support.syscalls import XFLAG_DAX, get_xflags, set_flags
    path = make(pool.point / "f", 4 * MIB)
    file = program.open(path)
    file.map()
    assert error_of(os.system, "true") is None
    before = get_xflags(path)
    fd = os.open(path, os.O_RDWR)
    flags = struct.unpack("IIIII8s", fcntl.ioctl(fd, 0x801c581f, bytes(28)))
    changed = struct.pack("IIIII8s", flags[0] ^ XFLAG_DAX, *flags[1:])
    assert error_of(fcntl.ioctl, fd, 0x401c5820, changed) == "EBUSY"
    os.close(fd)
    assert get_xflags(path) == before


def test_realign_moves_a_mapped_file(pool, program):
    """Its pieces are asked for, and what is stored before and after is in it."""
    path = pool.point / "f"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    data = bytearray(UNIT)
    os.ftruncate(fd, UNIT)
    file = program.open(path)
    for at in range(0, UNIT, 8 * PAGE):  # mapped from the start: stays in blocks
        file.map(at, PAGE, WRITE, pages=1)
        file.store(at, b"%08d" % at)
        data[at:at + 8] = b"%08d" % at
        if at == 0:
            continue
    os.close(fd)
    pool.run("daxfuse", "realign", pool.point)
    assert path.read_bytes() == data
    file.map(access=EAGER)
    assert file.load(0, UNIT) == data


# ---- long-term pins

def test_a_long_term_pin_survives_truncation(pool, program):
    path = make(pool.point / "f", 8 * MIB)
    file = program.open(path)
    file.pin(0, 4 * MIB)
    os.truncate(path, 0)
    assert waits(pool) == 0
    assert status(pool)["quarantined"] == 4 * MIB
    other = fill(pool)
    assert status(pool)["quarantined"] == 4 * MIB
    file.unpin(0, 4 * MIB)
    assert status(pool)["quarantined"] == 0
    assert other.stat().st_size > 0


def test_a_long_term_pin_ends_with_its_file(pool, program):
    path = make(pool.point / "f", 8 * MIB)
    file = program.open(path)
    file.pin(0, 8 * MIB)
    os.truncate(path, 0)
    assert status(pool)["quarantined"] == 8 * MIB
    file.close()
    assert eventually(lambda: status(pool)["quarantined"], 0) == 0


# ---- the daemon dies

def restart(pool):
    before = pool.serving()
    os.kill(before, signal.SIGKILL)
    assert eventually(lambda: pool.serving() not in (before, pool.daemon.pid), True) == True
    os.stat(pool.point)


def clear_log(pool):
    """The deaths that were our doing are no news; whatever else there is stays."""
    lines = pool.log.read_text(errors="replace").splitlines(keepends=True)
    pool.log.write_text("".join(line for line in lines if "killed by signal 9" not in line))


def test_pins_outlive_the_daemon(pool, mute):
    path = make(pool.point / "f", 8 * MIB)
    file = mute.open(path)
    file.map(access=EAGER)
    os.truncate(path, 4 * MIB)  # half of it is in the file, half is quarantined
    restart(pool)
    other = fill(pool)
    assert file.load(0, 8 * MIB) == pattern(8 * MIB)
    file.store(0, b"\xee" * 8 * MIB)
    assert b"\xee" * 64 not in other.read_bytes()
    assert path.read_bytes() == b"\xee" * 4 * MIB
    os.truncate(path, 0)
    assert status(pool)["quarantined"] == 8 * MIB
    file.close()
    assert eventually(lambda: status(pool)["quarantined"], 0) == 0
    clear_log(pool)


def test_a_program_connects_again(pool, program):
    path = make(pool.point / "f", 8 * MIB)
    file = program.open(path)
    file.map(access=EAGER)
    session = program.session
    restart(pool)
    assert eventually(program.listener.is_alive, False) == False
    assert error_of(file.ask) == "ENOTCONN"
    program.connect(session)
    assert program.session == session
    assert eventually(lambda: file.pieces, {}) == {}  # it was asked for all, as it may have missed something
    file.map(access=EAGER)
    assert file.load(0, 8 * MIB) == pattern(8 * MIB)
    os.truncate(path, 0)
    assert status(pool)["quarantined"] == 0
    clear_log(pool)


def test_program_and_daemon_die_together(pool):
    path = make(pool.point / "f", 8 * MIB)
    with child_that_maps(pool, path):
        os.truncate(path, 0)
        serving = pool.serving()
        os.kill(serving, signal.SIGSTOP)
    os.kill(serving, signal.SIGKILL)
    assert eventually(lambda: status(pool)["quarantined"], 0) == 0
    make(path, 8 * MIB)
    clear_log(pool)


def test_the_device_stays_locked_while_somebody_maps_it(pool, program):
    """All of the daemon is dead, the mount is gone, but a program still stores to the memory."""
    file = program.open(make(pool.point / "f", 8 * MIB))
    file.map(access=EAGER)
    pool.kill()
    file.store(0, b"x")
    refused = pool.run("fsck.daxfuse", "-n", pool.image, code=None)
    assert "busy" in refused or "in use" in refused or refused == ""
    with pytest.raises(AssertionError) as error:
        pool.mount("dax=always")
    assert f"{os.getpid()}" in str(error.value), "it says who holds it"
    program.close()
    clear_log(pool)
    pool.mount("dax=always")
    assert (pool.point / "f").read_bytes() == b"x" + pattern(8 * MIB)[1:]
