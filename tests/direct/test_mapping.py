# SPDX-License-Identifier: BSD-3-Clause
"""What a program gets when it asks for the memory of a file, and what it sees there."""

import os
import subprocess

import pytest

from support.direct import (EAGER, HUGE, PAGE, READ, TO_END, UNIT, WRITABLE, WRITE, ZERO, Program,
                            error_of)
from support.pool import MIB
from support.process import USER, eventually, run_as

REASON_START, REASON_END, REASON_EOF, REASON_SHORT = range(1, 5)


def pattern(length, seed=1):
    return (bytes((i * 7 + seed) % 251 for i in range(251)) * (length // 251 + 1))[:length]


def make(path, length, seed=1):
    path.write_bytes(pattern(length, seed))
    return path


def spans(pieces):
    """(offset, length, flags) of each."""
    return [(p.file_offset, p.length, p.flags) for p in pieces]


def status(pool):
    import json
    return json.loads(pool.run("daxfuse", "status", pool.point))["mappings"]


# ---- pieces

def test_whole_units_come_as_one_piece(pool, program):
    file = program.open(make(pool.point / "f", 8 * MIB))
    pieces = file.map()
    assert sum(p.length for p in pieces) == 8 * MIB
    assert all(p.flags == HUGE and p.reason == 0 for p in pieces)
    assert len(pieces) <= 3, "in a new pool they are neighbours, but for arenas"
    for p in pieces:
        assert p.device_offset % UNIT == 0
        assert file.load(p.file_offset, p.length) == pattern(8 * MIB)[p.file_offset:][:p.length]


def test_the_end_of_a_file_is_in_pages(pool, program):
    file = program.open(make(pool.point / "f", 2 * UNIT + 5000))
    pieces = file.map()
    assert spans(pieces)[-1] == (2 * UNIT, 8192, 0)
    assert pieces[-1].reason == REASON_EOF
    assert file.load(2 * UNIT, 8192) == pattern(2 * UNIT + 5000)[2 * UNIT:] + bytes(8192 - 5000)
    assert file.size == 2 * UNIT + 5000


def test_a_tiny_file(pool, program):
    """Its bytes were in the inode: they get a block."""
    file = program.open(make(pool.point / "f", 10))
    assert spans(file.map(access=EAGER)) == [(0, PAGE, WRITABLE)]
    assert file.load(0, PAGE) == pattern(10) + bytes(PAGE - 10)
    file.store(3, b"xyz")
    assert (pool.point / "f").read_bytes() == pattern(3) + b"xyz" + pattern(10)[6:]


def test_old_bytes_behind_the_end_are_not_shown(pool, program):
    path = make(pool.point / "f", 3 * PAGE)
    os.truncate(path, PAGE + 100)
    file = program.open(path)
    file.map()
    assert file.load(PAGE, PAGE) == pattern(3 * PAGE)[PAGE:PAGE + 100] + bytes(PAGE - 100)


def test_a_mapping_that_begins_in_a_unit(pool, program):
    file = program.open(make(pool.point / "f", 3 * UNIT))
    pieces = file.ask(PAGE, 3 * UNIT - PAGE, start=PAGE, end=2 * UNIT + PAGE)
    assert (pieces[0].file_offset, pieces[0].reason, pieces[0].flags) == (PAGE, REASON_START, 0)
    huge = [p for p in pieces if p.flags & HUGE]
    assert spans(huge) == [(UNIT, UNIT, HUGE)]
    assert pieces[-1].reason == REASON_END


def test_only_pages_where_addresses_do_not_line_up(pool, program):
    file = program.open(make(pool.point / "f", 2 * UNIT))
    assert all(not p.flags & HUGE for p in file.ask(pages=1))


def test_a_file_in_blocks_is_gathered_when_it_is_mapped(pool, program):
    """Written in an order that keeps it in blocks: every other one first."""
    path = pool.point / "f"
    with open(path, "wb") as f:
        f.truncate(2 * UNIT)
        for at in range(0, 40 * PAGE, 2 * PAGE):
            f.seek(at)
            f.write(pattern(PAGE, at))
        for at in range(UNIT, UNIT + 64 * PAGE, 4 * PAGE):
            f.seek(at)
            f.write(pattern(PAGE, at))
        os.posix_fallocate(f.fileno(), 0, 300 * PAGE)
    before = path.read_bytes()
    file = program.open(path)
    assert file.ask()[0].flags & HUGE
    assert path.read_bytes() == before


def test_holes_are_zeroes_and_stay_holes(pool, program):
    path = pool.point / "f"
    with open(path, "wb") as f:
        f.truncate(512 * MIB)  # more than the pool has
    file = program.open(path)
    pieces = file.map(access=EAGER)
    assert spans(pieces) == [(0, 512 * MIB, ZERO | HUGE)]
    assert file.load(300 * MIB, PAGE) == bytes(PAGE)
    assert os.stat(path).st_blocks == 0
    file.map(4 * UNIT, PAGE, WRITE)
    assert UNIT <= os.stat(path).st_blocks * 512 < UNIT + MIB


def test_a_store_through_the_mapping_is_seen_by_read(pool, program):
    path = make(pool.point / "f", 4 * MIB)
    file = program.open(path)
    file.map(access=EAGER)
    file.store(MIB, b"new")
    with open(path, "rb") as other:
        other.seek(MIB)
        assert other.read(3) == b"new"


def test_a_write_is_seen_in_the_mapping(pool, program):
    path = make(pool.point / "f", 4 * MIB)
    file = program.open(path)
    file.map()
    with open(path, "r+b") as other:
        other.seek(MIB + 1)
        other.write(b"new")
    assert file.load(MIB, 5) == pattern(4 * MIB)[MIB:MIB + 1] + b"new" + pattern(4 * MIB)[MIB + 4:][:1]


def test_a_write_into_a_hole_ends_the_zeroes(pool, program):
    path = pool.point / "f"
    with open(path, "wb") as f:
        f.truncate(4 * MIB)
    file = program.open(path)
    file.map()
    with open(path, "r+b") as other:
        other.seek(MIB)
        other.write(b"data")
    assert program.asked, "who maps zeroes there must be told before the write returns"
    file.map()
    assert file.load(MIB, 4) == b"data"


def test_mtime_moves_when_it_becomes_writable(pool, program):
    path = make(pool.point / "f", 4 * MIB)
    os.utime(path, ns=(1, 1))
    file = program.open(path)
    file.map()
    assert os.stat(path).st_mtime_ns == 1
    file.map(0, UNIT, WRITE)
    assert os.stat(path).st_mtime_ns > 1


# ---- what is refused

def test_access_of_the_open_file(pool, program):
    path = make(pool.point / "f", 4 * MIB)
    assert error_of(program.open(path, os.O_RDONLY).ask, access=WRITE) == "EACCES"
    assert error_of(program.open(path, os.O_RDONLY).ask, access=EAGER) == "EACCES"
    assert error_of(program.open(path, os.O_WRONLY).ask) == "EACCES"
    assert program.open(path, os.O_RDONLY).ask()[0].flags == HUGE


def test_numbers_are_checked(pool, program):
    file = program.open(make(pool.point / "f", 4 * MIB))
    assert error_of(file.ask, 1) == "EINVAL"
    assert error_of(file.ask, 0, 0) == "EINVAL"
    assert error_of(file.ask, 8 * MIB) == "ENXIO"
    assert error_of(file.ask, TO_END - PAGE + 1) == "EINVAL"
    assert error_of(file.ask, access=3) == "EINVAL"
    assert error_of(file.ask, PAGE, start=2 * PAGE) == "EINVAL"
    assert error_of(file.ask, PAGE, end=PAGE) == "EINVAL"
    assert error_of(file.ask, session=program.session ^ 1) == "ENOTCONN"
    assert error_of(file.ask) is None
    assert error_of(file.ask, cookie=12345) == "EINVAL", "one handle has one name"
    assert error_of(file.pin, 0, 8 * MIB) == "ENXIO"
    assert error_of(file.pin, 0, 100) == "EINVAL"
    assert error_of(file.unpin, 0, PAGE) == "EINVAL"


def test_directories_and_cached_files_go_through_the_kernel(make_pool):
    pool = make_pool(64 * MIB)
    pool.remount("dax=inode")
    with Program(pool.point) as program:
        assert error_of(program.open(pool.point, os.O_RDONLY).ask) == "ENOTSUP"
        assert error_of(program.open(make(pool.point / "f", MIB)).ask) == "ENOTSUP"


def test_the_version_is_checked(pool):
    with pytest.raises(OSError) as refused:
        Program(pool.point, version=77)
    assert "libdaxmap" in str(refused.value)


def test_rubbish_ends_the_connection_only(pool, program):
    file = program.open(make(pool.point / "f", 4 * MIB))
    file.map()
    with Program(pool.point) as other:
        other.socket.send(b"rubbish")
        assert eventually(other.listener.is_alive, False) == False
    assert file.ask()


# ---- whom the device is given

@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("policy, user, group", [("owner", False, False), ("all", True, True),
                                                 ("group=games", False, True), ("off", False, False)])
def test_policy(make_pool, policy, user, group):
    pool = make_pool(64 * MIB, f"direct={policy}", "allow_other")
    os.chmod(make(pool.point / "f", MIB), 0o666)

    def connect():
        from support.direct import Program
        try:
            Program(pool.point / "f").close()
        except OSError:
            return False
        return True

    assert connect() is (policy != "off")
    assert run_in_child(connect, USER, []) is user
    assert run_in_child(connect, USER, [60]) is group
    assert status(pool)["direct"] == policy.split("=")[0]


def run_in_child(function, uid, groups):
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            os.setgroups(groups)
            os.setgid(uid)
            os.setuid(uid)
            code = 0 if function() else 1
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code != 2
    return code == 0


def test_unknown_policy_is_refused(make_pool):
    pool = make_pool(64 * MIB)
    for policy in ("some", "group=", "group=nobody-has-that-name"):
        done = subprocess.run([pool.bin_dir / "daxfuse", pool.image, pool.point, "-o",
                               f"direct={policy}"], capture_output=True, text=True)
        assert done.returncode == 1 and "direct=" in done.stderr


# ---- figures

def test_status_says_what_is_mapped(pool, program):
    file = program.open(make(pool.point / "f", 2 * UNIT + PAGE))
    file.map(access=EAGER)
    shown = status(pool)
    assert shown["programs"] == 1 and shown["files"] == 1
    assert shown["huge"] == 2 * UNIT and shown["pages"] == PAGE
    assert shown["counters"]["fallback_eof"] == 1
    assert shown["counters"]["huge"] == 2 and shown["counters"]["page"] == 1
    program.close()
    assert eventually(lambda: status(pool)["files"], 0) == 0
    assert status(pool)["huge"] == 0
