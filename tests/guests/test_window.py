# SPDX-License-Identifier: BSD-3-Clause
"""
The DAX window: units of files, mapped by a VMM that is the test itself, so that each byte is looked at
where a guest would. The VMMs differ (Dialect); what is not about one of them is tested with all.
"""

import errno
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time

import pytest

from functional.conftest import make_pool  # noqa: F401 (fixture)
from restart.task import children
from support import vhost
from support.pool import MIB
from support.vhost import (ALIOTH, ATTR_DAX, BARRIER, CROSVM, QEMU, ROOT, SHMEM_MAP, SHMEM_UNMAP, SIZE, UNIT,
                           FrontEnd, Guest, WindowGuest)

KEEP_SIZE, PUNCH, COLLAPSE, INSERT = 1, 2, 8, 32
DIALECTS = {dialect.name: dialect for dialect in (QEMU, CROSVM, ALIOTH)}
UNITS = 16  # of most windows here


def until(condition):
    """What happens soon; a test that hangs is ended from outside."""
    while not condition():
        time.sleep(0.01)


def error_of(function, *args, **kwargs):
    with pytest.raises(OSError) as caught:
        function(*args, **kwargs)
    return caught.value.errno


def pattern(size, seed=1):
    """Bytes that are no zeroes, and the same in each run."""
    return bytes((seed * 31 + i // 7) % 251 + 1 for i in range(size))


@pytest.fixture(params=DIALECTS)
def dialect(request):
    return DIALECTS[request.param]


@pytest.fixture
def window_export(export):
    """window_export(dialect, size=..., *options) -> the export's socket."""

    def make(dialect=QEMU, size=UNITS * UNIT, *options):
        return export("--window", size, "--vmm", dialect.name, *options)

    return make


@pytest.fixture
def attach(window_export):
    """attach(dialect, size) -> a guest of an export of its own; ended with the test."""
    guests = []

    def make(dialect=QEMU, size=UNITS * UNIT, path=None, **how):
        guests.append(WindowGuest(path or window_export(dialect, size), dialect, size, **how))
        return guests[-1]

    yield make
    for guest in guests:
        guest.close()


@pytest.fixture
def guest(attach, dialect):
    return attach(dialect)


@pytest.fixture
def units(guest):
    """units(name, count) -> a node of a new file of so many units of bytes; mapped for writing from the
    beginning of the window."""

    def make(name="f", count=1, fill=True):
        node, _, fh = guest.create(ROOT, name)
        for i in range(count * UNIT // MIB if fill else 0):
            guest.write(node, fh, bytes([i % 250 + 1]) * MIB, i * MIB)
        if not fill:
            guest.setattr(node, SIZE, size=count * UNIT)
        for i in range(count):
            guest.setup(node, i * UNIT, i * UNIT, writes=True)
        guest.release(node, fh)
        return node

    return make


def requests(guest, kind):
    return [each for each in guest.window.asked if each[0] == kind]


# ---- loads and stores --------------------------------------------------------------------------------


def test_what_is_agreed_on(guest, dialect):
    *_, alignment, flags2 = guest.agreed
    assert guest.agreed[3] & vhost.MAP_ALIGNMENT and alignment == 21
    assert flags2 & vhost.HAS_INODE_DAX
    assert guest.window.size == UNITS * UNIT


def test_both_sides_see_each_other(guest, mnt):
    """Stores through the window are the host's bytes at once, and the other way round; both write."""
    data = pattern(3 * UNIT)
    (mnt / "f").write_bytes(data)
    node, _ = guest.lookup(ROOT, "f")
    for i in range(3):
        guest.setup(node, i * UNIT, (5 - i) * UNIT, writes=True)
        assert guest.load((5 - i) * UNIT, UNIT) == data[i * UNIT:][:UNIT]
    guest.store(5 * UNIT + 4097, b"guest")
    with open(mnt / "f", "r+b") as file:
        assert os.pread(file.fileno(), 7, 4096) == data[4096:4097] + b"guest" + data[4102:4103]
        os.pwrite(file.fileno(), b"host", UNIT - 2)
    assert guest.load(5 * UNIT + UNIT - 2, 2) == b"ho"
    assert guest.load(4 * UNIT, 2) == b"st"
    assert guest.read(node, guest.open(node), 4097, 5) == b"guest"


def test_two_guests_share_a_unit(attach, dialect):
    one, two = attach(dialect), attach(dialect)
    node, _, fh = one.create(ROOT, "f")
    one.write(node, fh, b"first")
    other, _ = two.lookup(ROOT, "f")
    one.setup(node, 0, 0, writes=True)
    two.setup(other, 0, 3 * UNIT, writes=True)
    one.store(100_000, b"one")
    assert two.load(3 * UNIT + 100_000, 3) == b"one" and two.load(3 * UNIT, 5) == b"first"
    two.store(3 * UNIT, b"SECOND")
    assert one.load(0, 6) == b"SECOND"
    one.remove(0)
    assert two.load(3 * UNIT, 6) == b"SECOND"


def test_a_small_file_is_mapped_whole(guest, mnt, pool):
    """Bytes in the inode, and blocks: what lies behind the end of the file is zeroes, whatever was there."""
    for size in (1, 100, 5000, 300_000):
        (mnt / "f").write_bytes(b"x" * size)
        node, _ = guest.lookup(ROOT, "f")
        guest.setup(node)
        assert guest.load(0, UNIT) == b"x" * size + bytes(UNIT - size)
        guest.remove(0)
        guest.unlink(ROOT, "f")


def test_removed_units_are_free(guest, report, pool, units):
    before = pool.free()
    node = units(count=4)
    guest.remove(0, (2 * UNIT, 2 * UNIT))
    assert not guest.window.is_mapped(0) and guest.window.is_mapped(UNIT)
    guest.remove((0, UNITS * UNIT))  # also what is not mapped
    assert not guest.window.pieces and len(requests(guest, SHMEM_UNMAP)) == 4
    guest.unlink(ROOT, "f")
    guest.forget(node)
    until(lambda: pool.free() == before)


def test_a_place_is_used_again(guest, units):
    """Without a word about what was there."""
    node = units(count=2)
    other = units("g", 1)
    assert guest.load(0, 1) == b"\1"
    guest.store(0, b"g")
    guest.setup(node, UNIT, UNIT)
    guest.setup(node, 0, 0)
    assert guest.load(0, 2) == b"\1\1"
    guest.setup(other, 0, 3 * UNIT)
    assert guest.load(3 * UNIT, 2) == b"g\1"
    assert error_of(guest.setup, other, 0, 4 * UNIT) == errno.EBUSY  # it is there already
    assert guest.load(0, UNIT)[:2] == b"\1\1"


def test_what_a_guest_is_told_of_files(attach, mnt, pool):
    """Which files its kernel is to map: by the flag, and without it those of a unit or more."""
    guest = attach()
    (mnt / "small").write_bytes(b"x")
    (mnt / "large").write_bytes(bytes(UNIT))
    (mnt / "program").write_bytes(bytes(UNIT))
    (mnt / "program").chmod(0o755)
    (mnt / "flagged").touch()
    (mnt / "fixed").write_bytes(bytes(UNIT))
    (mnt / "dir").mkdir()
    subprocess.run(["chattr", "+i", mnt / "fixed"], check=True)
    try:
        subprocess.run(["xfs_io", "-c", "chattr +x", mnt / "flagged"], check=True)
        dax = {name for name in os.listdir(mnt) if guest.lookup(ROOT, name)[1]["flags"] & ATTR_DAX}
        assert dax == {"large", "flagged"}
    finally:
        subprocess.run(["chattr", "-i", mnt / "fixed"], check=True)


# ---- the traps of platforms, by their numbers ----------------------------------------------------------


def test_trap_1_a_vmm_that_cannot_map(guest, report, units, dialect, pool):
    """As QEMU on device-dax: the guest gets an error, nothing stays pinned, and the status says so."""
    before = pool.free()
    node, _, fh = guest.create(ROOT, "f")
    guest.write(node, fh, b"bytes")
    guest.window.refuse.add(SHMEM_MAP)
    assert error_of(guest.setup, node) == errno.EIO
    path = guest.path
    assert report(path)["window"]["refused"] == 1 and report(path)["window"]["units"] == 0
    assert ("contrib/qemu" in report(path)["window"].get("advice", "")) == (dialect is QEMU)
    guest.window.refuse.clear()
    guest.setup(node)
    assert guest.load(0, 5) == b"bytes"
    guest.remove(0)
    guest.release(node, fh)
    guest.unlink(ROOT, "f")
    guest.forget(node)
    until(lambda: pool.free() == before)


def test_trap_2_what_a_vmm_takes(export, pool, socket_dir):
    """Sizes that a VMM aborts at, or can't have, are refused."""
    path = socket_dir / "refused"

    def refused(*words):
        done = subprocess.run([pool.bin_dir / "daxfuse", "export", "--socket", path, "--tag", "t", *map(str, words),
                               pool.point], capture_output=True, text=True)
        return done.returncode == 1 and done.stderr

    assert "512M at most" in refused("--window", "1G")
    assert "power of two" in refused("--window", "6M", "--vmm", "crosvm")
    assert "multiple of 2M" in refused("--window", "3M")
    assert "multiple of 2M" in refused("--window", "2T", "--vmm", "alioth") or refused("--window", "2T")
    assert "for writing" in refused("--window", "64M", "--readonly")
    assert "window is a size" in refused("--window", "much")
    assert "vmm is" in refused("--window", "64M", "--vmm", "bochs")
    export("--window", "6M", "--vmm", "alioth", "--readonly")
    export("--window", "2M", "--vmm", "crosvm", "--readonly")


def test_trap_3_nothing_is_mapped_before_the_queues_run(window_export, dialect, report):
    """Nor while they stand still: a channel that is set, a reset with pieces in place, a stop."""
    path = window_export(dialect)
    guest = WindowGuest(path, dialect, UNITS * UNIT)
    node, _, fh = guest.create(ROOT, "f")
    guest.write(node, fh, b"bytes")
    guest.setup(node, writes=True)
    asked = len(guest.window.asked)
    guest.window.reset()
    guest.front.must(vhost.RESET_DEVICE)
    time.sleep(0.2)
    assert len(guest.window.asked) == asked
    for queue in (guest.urgent, guest.queue):
        queue.stop()
        queue.memory_reset()
        queue.start()
    time.sleep(0.2)
    assert len(guest.window.asked) == asked and report(path)["window"]["units"] == 1
    guest.init()  # the driver begins: what was there goes now
    assert report(path)["window"]["units"] == 0
    node, _ = guest.lookup(ROOT, "f")
    guest.setup(node)
    assert guest.load(0, 5) == b"bytes"
    guest.close()


def test_trap_3_destroy_unmaps_all(guest, units, report):
    """As an unmount sends nothing else."""
    units(count=5)
    guest.call(vhost.DESTROY, 0)
    assert not guest.window.pieces and report(guest.path)["window"]["units"] == 0
    assert len(requests(guest, SHMEM_UNMAP)) == 5


def test_trap_3_a_new_boot_unmaps_all(guest, units, report):
    """INIT without a DESTROY, after a reset that the VMM unmapped at, or did not."""
    units(count=3)
    guest.init()
    assert not guest.window.pieces and report(guest.path)["window"]["units"] == 0
    node = guest.walk("f")
    guest.setup(node)
    guest.window.reset()
    guest.init()
    assert report(guest.path)["window"]["units"] == 0 and report(guest.path)["window"]["lost"] == 1
    guest.setup(guest.walk("f"))
    assert guest.load(0, 1) == b"\1"


@pytest.mark.parametrize("when", ["mapping", "passing the barrier", "unmapping"])
def test_trap_4_a_stop_in_the_middle(guest, dialect, when):
    """A VMM that stops the queue answers nothing meanwhile; when it goes on, the request is done, once."""
    if when == "passing the barrier" and not dialect.early:
        pytest.skip("it has none")
    node, _, fh = guest.create(ROOT, "f")
    guest.write(node, fh, b"bytes")
    if when == "unmapping":
        guest.setup(node)
    window = guest.window
    body, opcode = struct.pack("5Q", vhost.NO_HANDLE, 0, UNIT, 1, 0), vhost.SETUPMAPPING
    if when == "unmapping":
        body, opcode = struct.pack("IQQ", 1, 0, UNIT)[:4] + struct.pack("QQ", 0, UNIT), vhost.REMOVEMAPPING
    if when == "passing the barrier":
        window.hold_at = BARRIER
    else:
        window.hold.clear()
    outs = guest.queue.chain([guest.header(opcode, node, len(body)), body], 16)
    guest.queue.offer(0)
    until(lambda: window.waiting)
    base = guest.queue.stop()  # it is answered, though the VMM owes us an answer
    assert base == guest.queue.next_avail - 1
    window.hold_at = None
    window.hold.set()
    guest.queue.start(base)
    head, written = guest.queue.wait()
    assert (head, written) == (0, 16)
    assert bytes(guest.front.memory[outs[0][0] + 4:outs[0][0] + 8]) == bytes(4)
    if when == "unmapping":
        assert not window.pieces and len(requests(guest, SHMEM_UNMAP)) == 1
    else:
        assert guest.load(0, 5) == b"bytes" and len(requests(guest, SHMEM_MAP)) == 1
    guest.release(node, fh)


def test_trap_4_stop_and_go_on(guest, units):
    """Records are kept over GET_VRING_BASE."""
    units(count=3)
    for _ in range(3):
        bases = [queue.stop() for queue in (guest.urgent, guest.queue)]
        for queue, base in zip((guest.urgent, guest.queue), bases):
            queue.start(base)
        assert guest.load(2 * UNIT, 1) == b"\5"
        node = guest.walk("f")
        guest.setup(node, 2 * UNIT, 2 * UNIT, writes=True)
    assert len(requests(guest, SHMEM_MAP)) == 3
    guest.remove((0, 3 * UNIT))


def test_trap_5_the_answer_comes_when_it_is_in_effect(guest, dialect):
    """load() fails on a piece that is not: after each answer nothing is pending."""
    node, _, fh = guest.create(ROOT, "f")
    guest.setattr(node, SIZE, size=8 * UNIT)
    for i in range(8):
        guest.setup(node, i * UNIT, i * UNIT, writes=True)
        assert not guest.window.pending
        guest.store(i * UNIT, b"x")
        if i % 2:
            guest.remove(i * UNIT)
            assert not guest.window.pending
    assert bool(requests(guest, BARRIER)) == dialect.early
    guest.release(node, fh)


def test_trap_6_readers_get_what_is_stored(guest, dialect, mnt, pool):
    """Holes are allocated when they are mapped for reading, and writing is one piece still, so that who
    mapped it first sees what is stored there by others."""
    free = pool.free()
    (mnt / "f").touch()
    os.truncate(mnt / "f", 4 * UNIT)
    before = os.stat(mnt / "f")
    node, _ = guest.lookup(ROOT, "f")
    for i in range(2):
        guest.setup(node, i * UNIT, i * UNIT)
        assert guest.load(i * UNIT, UNIT) == bytes(UNIT)
    assert os.stat(mnt / "f").st_mtime_ns == before.st_mtime_ns  # it was read
    assert pool.free()[0] <= free[0] - 2 * 512 or pool.free() != free
    with open(mnt / "f", "r+b") as file:
        os.pwrite(file.fileno(), b"host", UNIT + 5)
    assert guest.load(UNIT + 5, 4) == b"host"
    time.sleep(0.01)
    guest.setup(node, 0, 0, writes=True)
    guest.store(0, b"guest")
    assert (mnt / "f").read_bytes()[:5] == b"guest"
    assert guest.getattr(node)["mtimensec"] != before.st_mtime_ns % 10 ** 9
    maps = requests(guest, SHMEM_MAP)
    assert [each[1] for each in maps] == ([0, UNIT, 0] if dialect.over else [0, UNIT])
    assert [each[3] for each in maps] == ([0, 0, 1] if dialect.over else [1, 1])


def test_trap_6_read_only_exports(attach, window_export, dialect, mnt):
    """Where the VMM honours it all is mapped for reading; the others are refused one (trap 2)."""
    if not dialect.read_only:
        pytest.skip("it can't")
    (mnt / "f").write_bytes(b"bytes")
    guest = attach(dialect, path=window_export(dialect, UNITS * UNIT, "--readonly"))
    node, attr = guest.lookup(ROOT, "f")
    assert error_of(guest.setup, node, writes=True) == errno.EROFS
    guest.setup(node)
    assert guest.load(0, 5) == b"bytes" and guest.window.pieces == {0: (UNIT, False)}


@pytest.mark.parametrize("side", ["guest", "host"])
def test_trap_7_no_foreign_byte(attach, dialect, side, mnt, make_pool):
    """Truncate, punch, unlink and overwrite what is mapped, from either side; then another file takes all
    the space there is: the window shows this file's bytes, or zeroes, and never the other's."""
    guest = attach(dialect)
    (mnt / "f").write_bytes(b"m" * (6 * UNIT))
    node, _ = guest.lookup(ROOT, "f")
    fh = guest.open(node)
    for i in range(6):
        guest.setup(node, i * UNIT, i * UNIT, writes=True)

    def change(guests, hosts):
        guests() if side == "guest" else hosts()

    def punch(offset, length):
        guest.fallocate(node, fh, PUNCH | KEEP_SIZE, offset, length)

    def host_punch(offset, length):
        subprocess.run(["fallocate", "-p", "-o", str(offset), "-l", str(length), mnt / "f"], check=True)

    change(lambda: punch(UNIT, UNIT), lambda: host_punch(UNIT, UNIT))
    change(lambda: punch(2 * UNIT + 5000, 100_000), lambda: host_punch(2 * UNIT + 5000, 100_000))
    change(lambda: guest.setattr(node, SIZE, size=4 * UNIT + 77), lambda: os.truncate(mnt / "f", 4 * UNIT + 77))
    expected = bytearray(b"m" * (4 * UNIT + 77) + bytes(2 * UNIT - 77))
    expected[UNIT:2 * UNIT] = bytes(UNIT)
    expected[2 * UNIT + 5000:][:100_000]
    expected[2 * UNIT + 5000:2 * UNIT + 105_000] = bytes(100_000)
    with open(mnt / "other", "wb") as other:
        try:
            while True:
                other.write(b"o" * MIB)
                other.flush()
        except OSError as error:
            assert error.errno == errno.ENOSPC
    assert guest.load(0, 6 * UNIT) == bytes(expected)
    # the file grows again: the same units, and both sides see the same
    change(lambda: guest.setattr(node, SIZE, size=6 * UNIT), lambda: os.truncate(mnt / "f", 6 * UNIT))
    assert guest.load(4 * UNIT + 77, 2 * UNIT - 77) == bytes(2 * UNIT - 77)
    guest.store(5 * UNIT + 9, b"again")
    guest.store(UNIT + 9, b"again")
    with open(mnt / "f", "rb") as file:
        assert os.pread(file.fileno(), 5, 5 * UNIT + 9) == b"again" == os.pread(file.fileno(), 5, UNIT + 9)
    assert set(open(mnt / "other", "rb").read()) == {ord("o")}
    # without a name it stays what it is, as long as it is mapped
    change(lambda: guest.unlink(ROOT, "f"), lambda: os.unlink(mnt / "f"))
    guest.release(node, fh)
    guest.forget(node)
    assert guest.load(5 * UNIT + 9, 5) == b"again"
    guest.store(0, b"nobody")
    os.unlink(mnt / "other")
    (mnt / "third").write_bytes(b"t" * (20 * UNIT))
    assert guest.load(0, 6) == b"nobody" and b"t" not in guest.load(0, 6 * UNIT)
    guest.store(0, b"z" * UNIT)
    assert set((mnt / "third").read_bytes()) == {ord("t")}
    guest.remove((0, 6 * UNIT))


def test_trap_7_truncated_to_nothing_and_written_anew(guest, mnt):
    """What every editor does to a file that the guest has read: it uses the piece that it has."""
    (mnt / "f").write_bytes(b"old" * 1000)
    node, _ = guest.lookup(ROOT, "f")
    guest.setup(node)
    for size in (10, 5000, 300_000, 40):
        fh = guest.open(node, os.O_RDWR | os.O_TRUNC)
        assert guest.load(0, 4096) == bytes(4096)
        guest.write(node, fh, pattern(size, size))
        assert guest.load(0, size + 10) == pattern(size, size) + bytes(10)
        assert (mnt / "f").read_bytes() == pattern(size, size)
        guest.release(node, fh)
    (mnt / "f").write_bytes(b"of the host")  # truncates, too
    assert guest.load(0, 12) == b"of the host\0"


def test_trap_7_moves_are_refused(guest, units, mnt):
    """Collapsing would have to move what the guest has: not while it has."""
    node = units(count=3)
    path = mnt / "f"
    before = path.read_bytes()
    fh = guest.open(node)
    for mode in (COLLAPSE, INSERT):
        assert error_of(guest.fallocate, node, fh, mode, 0, 4096) == errno.EBUSY
    assert path.read_bytes() == before
    guest.remove((0, 3 * UNIT))
    guest.fallocate(node, fh, COLLAPSE, 0, 4096)
    assert path.read_bytes() == before[4096:]
    guest.release(node, fh)


def flushed(pool):
    return json.loads(pool.run("daxfuse", "status", pool.point))["mappings"]["counters"]["flushed"]


@pytest.mark.parametrize("how", ["fsync", "syncfs", "another guest"])
def test_trap_8_fsync_makes_stores_durable(guest, attach, pool, units, how):
    """The guest's processor does not: the daemon flushes what is mapped for writing, each time."""
    second = attach()
    node = units(count=3, fill=False)
    other, _, fh = guest.create(ROOT, "read only")
    guest.write(other, fh, b"x" * MIB)
    guest.setup(other, 0, 5 * UNIT)  # for reading: nothing to flush
    for _ in range(2):
        before = flushed(pool)
        guest.store(UNIT, b"bytes")
        if how == "fsync":
            guest.fsync(node, 0)
        elif how == "syncfs":
            guest.call(vhost.SYNCFS, ROOT, bytes(8))
        else:
            second.fsync(second.lookup(ROOT, "f")[0], 0)
        assert flushed(pool) == before + 3


def test_trap_9_both_ways_of_writing(guest, units):
    """Inside of the file through the window, behind its end by a request."""
    node = units(count=1)
    fh = guest.open(node)
    guest.store(UNIT - 3, b"end")
    guest.write(node, fh, b"grown", UNIT)
    assert guest.getattr(node)["size"] == UNIT + 5
    assert guest.read(node, fh, UNIT - 3, 8) == b"endgrown"
    guest.setup(node, UNIT, UNIT, writes=True)
    guest.store(UNIT, b"GROWN")
    guest.write(node, fh, b"more", UNIT + 5)
    assert guest.read(node, fh, UNIT, 9) == b"GROWNmore" == guest.load(UNIT, 9)
    guest.release(node, fh)


def test_trap_10_times_of_what_is_stored(guest, units, mnt):
    """The host hears of a guest's first store to a unit, and its own attributes are not cached over it."""
    node, _, fh = guest.create(ROOT, "f")
    guest.write(node, fh, b"x")
    guest.setup(node)
    before = os.stat(mnt / "f")
    time.sleep(0.02)
    guest.setup(node, writes=True)
    after = os.stat(mnt / "f")
    assert after.st_mtime_ns > before.st_mtime_ns and after.st_blocks >= before.st_blocks
    guest.release(node, fh)


def test_trap_11_a_file_of_sixteen_windows(attach, mnt, dialect):
    """Read by two, in order and at random, through a window of two units: it makes progress."""
    guest = attach(dialect, size=2 * UNIT)
    path = mnt / "f"
    with open(path, "wb") as file:
        for i in range(32):
            file.write(bytes([i + 1]) * UNIT)
    node, _ = guest.lookup(ROOT, "f")
    turn, seen = threading.Lock(), []

    def read(place, order):
        for i in order:
            with turn:  # the queue's, which takes one request at a time here
                guest.setup(node, i * UNIT, place)
            seen.append(guest.load(place + 12345, 1)[0] == i + 1)
            with turn:
                guest.remove(place)

    random_order = [i * 13 % 32 for i in range(32)]
    threads = [threading.Thread(target=read, args=(0, list(range(0, 32, 2)) + random_order[::2])),
               threading.Thread(target=read, args=(UNIT, list(range(1, 32, 2)) + random_order[1::2]))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert len(seen) == 64 and all(seen)


def test_trap_12_behind_the_end(guest, mnt):
    """The last unit is mapped whole: what a guest stores behind the end is never the file's."""
    (mnt / "f").write_bytes(b"bytes")
    node, _ = guest.lookup(ROOT, "f")
    guest.setup(node, writes=True)
    guest.store(5, b"behind the end")
    guest.store(UNIT - 5, b"at the end of the unit"[:5])
    assert (mnt / "f").read_bytes() == b"bytes"
    os.truncate(mnt / "f", UNIT)
    assert (mnt / "f").read_bytes() == b"bytes" + bytes(UNIT - 5) == guest.load(0, UNIT)
    assert error_of(guest.setup, node, UNIT, UNIT) == errno.ENXIO


# ---- full pools, limits --------------------------------------------------------------------------------


def test_a_full_pool(window_export, dialect, make_pool, socket_dir):
    """Is ENOSPC where a hole is mapped; what lies in whole units is mapped all the same."""
    pool = make_pool(size=64 * MIB)
    pool.mount()
    path = socket_dir / "full"
    pool.run("daxfuse", "export", "--socket", path, "--tag", "t", "--window", "32M", "--vmm", dialect.name, pool.point)
    guest = WindowGuest(path, dialect, UNITS * UNIT)
    try:
        (pool.point / "whole").write_bytes(b"w" * UNIT)
        node, _, fh = guest.create(ROOT, "sparse")
        guest.setattr(node, SIZE, size=4 * UNIT)
        with open(pool.point / "filler", "wb") as file:
            try:
                while True:
                    file.write(bytes(MIB))
                    file.flush()
            except OSError:
                pass
        assert error_of(guest.setup, node, UNIT, 0) == errno.ENOSPC
        assert error_of(guest.setup, node, UNIT, 0, writes=True) == errno.ENOSPC
        assert error_of(guest.fallocate, node, fh, 0, 0, 4 * UNIT) == errno.ENOSPC
        whole, _ = guest.lookup(ROOT, "whole")
        guest.setup(whole)
        assert guest.load(0, 2) == b"ww"
        os.unlink(pool.point / "filler")
        until(lambda: not error_or_none(guest.setup, node, UNIT, UNIT))
        assert guest.load(UNIT, 10) == bytes(10)
    finally:
        guest.close()
    pool.umount()
    pool.fsck()


def error_or_none(function, *args):
    try:
        function(*args)
    except OSError as error:
        return error
    return None


# ---- what must not be mapped ----------------------------------------------------------------------------


def test_ranges_that_are_none(guest, mnt):
    (mnt / "f").write_bytes(bytes(4 * UNIT))
    node, _ = guest.lookup(ROOT, "f")
    most = (1 << 64) - UNIT
    for offset, length, at in ((1, UNIT, 0), (4096, UNIT, 0), (0, 4096, 0), (0, 0, 0), (0, UNIT, 4096),
                               (0, UNIT, UNITS * UNIT), (0, 2 * UNIT, (UNITS - 1) * UNIT), (0, UNIT, most),
                               (0, most, 0), (most, UNIT, 0), (most, most, most), (1 << 60, UNIT, 0),
                               (0, (UNITS + 1) * UNIT, 0)):
        assert error_of(guest.setup, node, offset, at, length=length) == errno.EINVAL, (offset, length, at)
    assert error_of(guest.setup, node, 4 * UNIT, 0) == errno.ENXIO
    assert error_of(guest.setup, node, 0, 0, flags=4) == errno.EINVAL
    assert error_of(guest.setup, node, 0, 0, flags=1 << 63) == errno.EINVAL
    for piece in ((1, UNIT), (0, 1), (0, 0), (UNITS * UNIT, UNIT), (0, most), (most, UNIT), (UNIT, UNITS * UNIT)):
        assert error_of(guest.remove, piece) == errno.EINVAL
    body = struct.pack("I", 1000) + struct.pack("QQ", 0, UNIT)
    assert error_of(guest.call, vhost.REMOVEMAPPING, ROOT, body) == errno.EINVAL
    assert not guest.window.pieces
    guest.setup(node, 0, 0, length=4 * UNIT)
    assert guest.load(0, 4 * UNIT) == bytes(4 * UNIT)


def test_what_cannot_be_mapped(guest, mnt, pool):
    """Directories and the like, nodes that were never given, what must not be written to."""
    guest.mkdir(ROOT, "dir")
    guest.symlink(ROOT, "link", "dir")
    guest.mknod(ROOT, "fifo", mode=0o10600)
    for name in ("dir", "link", "fifo"):
        assert error_of(guest.setup, guest.lookup(ROOT, name)[0]) in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
    assert error_of(guest.setup, ROOT) in (errno.EOPNOTSUPP, errno.EISDIR)
    outside = pool.point / "outside"
    outside.write_bytes(b"secret")
    try:
        for ino in (os.stat(outside).st_ino, 0, 2, 1 << 40, (1 << 64) - 1):
            assert error_of(guest.setup, ino) == errno.ESTALE
    finally:
        outside.unlink()
    for flag in "ia":
        (mnt / flag).write_bytes(b"fixed")
        subprocess.run(["chattr", f"+{flag}", mnt / flag], check=True)
        try:
            assert error_of(guest.setup, guest.lookup(ROOT, flag)[0]) == errno.EPERM
        finally:
            subprocess.run(["chattr", f"-{flag}", mnt / flag], check=True)
    assert not guest.window.pieces


def test_a_mount_without_dax(make_pool, socket_dir):
    """dax=never: nothing is mapped; dax=inode: what has the flag."""
    for mode, name, expected in (("never", "f", errno.EOPNOTSUPP), ("inode", "f", errno.EOPNOTSUPP),
                                 ("inode", "flagged", None)):
        pool = make_pool(size=64 * MIB)
        pool.mount(f"dax={mode}")
        path = socket_dir / f"{mode}-{name}"
        pool.run("daxfuse", "export", "--socket", path, "--tag", "t", "--window", "32M", pool.point)
        (pool.point / name).touch()
        if name == "flagged":
            subprocess.run(["xfs_io", "-c", "chattr +x", pool.point / name], check=True)
        (pool.point / name).write_bytes(bytes(UNIT))
        guest = WindowGuest(path)
        node, attr = guest.lookup(ROOT, name)
        assert bool(attr["flags"] & ATTR_DAX) == (expected is None)
        found = error_or_none(guest.setup, node)
        assert (found and found.errno) == expected
        guest.close()
        pool.umount()


def test_a_host_that_reads_through_its_cache(guest, mnt):
    """Has stale pages if the guest could store: refused, until it has closed the file."""
    (mnt / "f").write_bytes(b"bytes")
    node, _ = guest.lookup(ROOT, "f")
    with open(mnt / "f", "rb"):
        assert error_of(guest.setup, node) == errno.ETXTBSY
    until(lambda: not error_or_none(guest.setup, node, 0, 0, True))
    with open(mnt / "f", "rb", buffering=0) as file:
        assert file.read(5) == b"bytes"
        guest.store(0, b"BYTES")
        assert os.pread(file.fileno(), 5, 0) == b"BYTES"


def test_buffers_in_the_window(attach, report, pool, mnt):
    """QEMU tells of pieces as memory: what is read from one file lands in another one that is mapped
    (O_DIRECT); and not where there is nothing any more, whoever has that space by then."""
    guest = attach(QEMU)
    (mnt / "from").write_bytes(pattern(8192))
    source, _ = guest.lookup(ROOT, "from")
    fh = guest.open(source)
    (mnt / "to").write_bytes(bytes(UNIT))
    node, _ = guest.lookup(ROOT, "to")
    guest.setup(node, 0, UNIT, writes=True)
    body = guest.header(vhost.READ, source, 40) + struct.pack("QQIIQII", fh, 0, 8192, 0, 0, 0, 0)
    queue = guest.queue

    def read_into(address):
        head = vhost.GUEST_BASE + guest.front.place(bytes(16))
        for i, desc in enumerate(((vhost.GUEST_BASE + guest.front.place(body), len(body), vhost.NEXT, 1),
                                  (head, 16, vhost.WRITE | vhost.NEXT, 2), (address, 8192, vhost.WRITE, 0))):
            queue.put_desc(i, *desc)
        queue.offer(0)
        return queue.wait()[1]

    place = vhost.WINDOW_BASE + UNIT + 4096
    assert read_into(place) == 16 + 8192
    assert (mnt / "to").read_bytes()[4096:4096 + 8192] == pattern(8192)
    bad = report(guest.path)["bad_chains"]
    for address in (vhost.WINDOW_BASE, place + UNIT - 4096 - 8000):
        assert read_into(address) == 0
    guest.remove(UNIT)
    guest.unlink(ROOT, "to")
    guest.forget(node)
    (mnt / "other").write_bytes(b"o" * (4 * UNIT))
    assert read_into(place) == 0
    assert report(guest.path)["bad_chains"] == bad + 3
    assert set((mnt / "other").read_bytes()) == {ord("o")}
    guest.release(source, fh)


# ---- without a window ---------------------------------------------------------------------------------


def test_a_front_end_that_has_none(window_export, mnt):
    """It does not speak of shared memory, or gives no channel: everything else works."""
    path = window_export()
    (mnt / "f").write_bytes(bytes(UNIT))
    with Guest(path) as guest:
        assert not guest.agreed[3] & vhost.MAP_ALIGNMENT and not guest.agreed[-1] & vhost.HAS_INODE_DAX
        node, attr = guest.lookup(ROOT, "f")
        assert not attr["flags"] & ATTR_DAX
        body = struct.pack("5Q", vhost.NO_HANDLE, 0, UNIT, 1, 0)
        assert error_of(guest.call, vhost.SETUPMAPPING, node, body) == errno.ENOSYS
        assert error_of(guest.call, vhost.REMOVEMAPPING, node, struct.pack("IQQ", 1, 0, UNIT)) == errno.ENOSYS


def test_messages_of_windows(window_export, export, dialect):
    """Channels that are none, or were not agreed on; exports without a window."""
    path = window_export(dialect)
    file = os.open("/dev/zero", os.O_RDWR)
    try:
        with FrontEnd(path, protocol=vhost.MQ | vhost.REPLY_ACK) as front:
            assert front.tell(vhost.SET_BACKEND_CHANNEL, b"", [front.socket.fileno()]) == 1
        with FrontEnd(path, protocol=dialect.protocol()) as front:
            assert front.tell(vhost.SET_BACKEND_CHANNEL) == 1
            assert front.tell(vhost.SET_BACKEND_CHANNEL, b"", [file]) == 1
            assert front.tell(vhost.SET_BACKEND_CHANNEL, b"", [front.socket.fileno()] * 2) == 1
            if not dialect.asks_size:
                with pytest.raises(vhost.Gone):
                    front.ask(vhost.GET_SHMEM_CONFIG)
        with FrontEnd(export()) as front:
            assert not front.number(vhost.GET_PROTOCOL_FEATURES) & (dialect.feature | vhost.BACKEND_CHANNEL)
            assert front.tell(vhost.SET_BACKEND_CHANNEL, b"", [front.socket.fileno()]) == 1
    finally:
        os.close(file)


# ---- front ends that go ---------------------------------------------------------------------------------


VMM = """
import sys
sys.path.insert(0, {tests!r})
from support.vhost import *
guest = WindowGuest({path!r}, {dialect}, {size})
node, _, fh = guest.create(ROOT, "f")
for i in range(4):
    guest.write(node, fh, b"x" * MIB, 2 * i * MIB)
    guest.setup(node, i * UNIT, i * UNIT, writes=True)
guest.unlink(ROOT, "f")
guest.store(0, b"stored")
print("ready", flush=True)
while True:
    guest.setup(node, 0, 5 * UNIT if False else 0, writes=True)
    guest.remove(3 * UNIT)
    guest.setup(node, 3 * UNIT, 3 * UNIT)
"""


def test_a_vmm_that_is_killed(window_export, attach, report, pool, dialect):
    """All that its guest held is let go of, in the middle of mapping; the next one is served."""
    path = window_export(dialect)
    before = pool.free()
    code = VMM.format(tests=str(__file__).rsplit("/", 2)[0], path=str(path), dialect=dialect.name.upper(),
                      size=UNITS * UNIT)
    vmm = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert vmm.stdout.readline() == "ready\n"
        assert report(path)["window"]["units"] >= 3
        vmm.send_signal(signal.SIGKILL)
    finally:
        vmm.kill()
        vmm.wait()
        vmm.stdout.close()
    until(lambda: not report(path)["connected"])
    until(lambda: report(path)["window"]["units"] == 0 == report(path)["window"]["files"])
    until(lambda: pool.free() == before)
    guest = attach(dialect, path=path)
    node, _, fh = guest.create(ROOT, "g")
    guest.write(node, fh, b"bytes")
    guest.setup(node)
    assert guest.load(0, 5) == b"bytes"


HANGS_UP = """
import sys
sys.path.insert(0, {tests!r})
from support.vhost import *
guest = WindowGuest({path!r}, {dialect}, {size})
node, _, fh = guest.create(ROOT, "f")
guest.write(node, fh, b"mine" * 1000)
guest.setup(node, 0, 0, writes=True)
guest.unlink(ROOT, "f")
guest.window.channel.shutdown(socket.SHUT_RDWR)
guest.front.disconnect()
print("ready", flush=True)
for line in sys.stdin:
    print(guest.load(0, 4).decode(), flush=True)
    guest.store(0, b"mine" * (UNIT // 4))
"""


def start_hanging_up(path, dialect):
    """A VMM that maps a unit and closes its connection: a process that goes on with it."""
    code = HANGS_UP.format(tests=str(__file__).rsplit("/", 2)[0], path=str(path), dialect=dialect.name.upper(),
                           size=UNITS * UNIT)
    vmm = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert vmm.stdout.readline() == "ready\n"
    return vmm


def end_vmm(vmm):
    vmm.kill()
    vmm.wait()
    vmm.stdin.close()
    vmm.stdout.close()


def test_a_vmm_that_cannot_be_seen(make_pool, socket_dir):
    """The daemon is in a container, in which the VMM has no number: nobody knows when it ends, so what it has mapped
    stays the files' as long as the mount."""
    pool = make_pool(size=64 * MIB)
    path = socket_dir / "unseen"
    wrapper = subprocess.Popen(["unshare", "--fork", "--pid", "--mount-proc", "--kill-child",
                                pool.bin_dir / "daxfuse", pool.image, pool.point, "-f"])
    until(lambda: children(wrapper.pid))
    enter = ["nsenter", "--pid", "--mount", "--target", str(children(wrapper.pid)[0])]
    until(lambda: subprocess.run([*enter, "mountpoint", "-q", pool.point]).returncode == 0)

    def run(*words):
        return subprocess.run([*enter, pool.bin_dir / "daxfuse", *map(str, words)], check=True, capture_output=True,
                              text=True).stdout

    run("export", "--socket", path, "--tag", "t", "--window", UNITS * UNIT, "--vmm", "qemu", pool.point)
    vmm = start_hanging_up(path, QEMU)

    def window():
        return json.loads(run("status", pool.point))["exports"][0]

    until(lambda: not window()["connected"])
    end_vmm(vmm)
    time.sleep(0.2)
    with pytest.raises((vhost.Gone, OSError, AssertionError)):
        WindowGuest(path, QEMU, UNITS * UNIT)
    assert window()["window"]["units"] == 1
    run("export", "--remove", "--socket", path, pool.point)
    subprocess.run([*enter, "umount", pool.point], check=True)
    assert wrapper.wait(60) == 0
    pool.fsck()


@pytest.mark.parametrize("removed", [False, True], ids=["", "removed"])
def test_a_vmm_that_only_hangs_up(make_pool, socket_dir, dialect, removed):
    """It lives, and its guest uses what is mapped: that is nobody else's before it ends. Then the next one is served."""
    pool = make_pool(size=64 * MIB)
    pool.mount()
    path = socket_dir / "hangs"
    pool.run("daxfuse", "export", "--socket", path, "--tag", "t", "--window", UNITS * UNIT, "--vmm", dialect.name,
             pool.point)
    free = pool.free()

    def window():
        return json.loads(pool.run("daxfuse", "status", pool.point))["exports"][0]

    vmm = start_hanging_up(path, dialect)
    try:
        until(lambda: not window()["connected"])
        assert window()["window"]["units"] == 1
        if removed:
            pool.run("daxfuse", "export", "--remove", "--socket", path, pool.point)
        else:
            with pytest.raises((vhost.Gone, OSError, AssertionError)):
                WindowGuest(path, dialect, UNITS * UNIT)
        with open(pool.point / "other", "wb") as other:
            with pytest.raises(OSError):
                while True:
                    other.write(b"o" * MIB)
                    other.flush()
        for _ in range(2):
            vmm.stdin.write("\n")
            vmm.stdin.flush()
            assert vmm.stdout.readline() == "mine\n"
        assert set((pool.point / "other").read_bytes()) == {ord("o")}
        os.unlink(pool.point / "other")
    finally:
        end_vmm(vmm)
    until(lambda: pool.free() == free)
    if not removed:
        assert window()["window"]["units"] == 0
        guest = WindowGuest(path, dialect, UNITS * UNIT)
        guest.close()
    pool.umount()
    pool.fsck()


def test_an_export_that_is_removed(window_export, dialect, pool, report):
    """Its window is emptied, as the VMM and the guest go on."""
    path = window_export(dialect)
    guest = WindowGuest(path, dialect, UNITS * UNIT)
    try:
        node, _, fh = guest.create(ROOT, "f")
        guest.write(node, fh, b"bytes")
        guest.setup(node, writes=True)
        pool.run("daxfuse", "export", "--remove", "--socket", path, pool.point)
        until(lambda: not guest.window.pieces)
    finally:
        guest.close()


def test_a_vmm_that_never_answers(window_export, dialect, pool, report):
    """Its guest waits; others, and the end of the export, do not."""
    path = window_export(dialect)
    guest = WindowGuest(path, dialect, UNITS * UNIT)
    node, _, fh = guest.create(ROOT, "f")
    guest.write(node, fh, b"bytes")
    guest.window.hold.clear()
    body = struct.pack("5Q", vhost.NO_HANDLE, 0, UNIT, 1, 0)
    guest.queue.chain([guest.header(vhost.SETUPMAPPING, node, len(body)), body], 16)
    guest.queue.offer(0)
    until(lambda: guest.window.waiting)
    assert report(path)["window"]["units"] == 1
    with Guest(window_export(dialect), protocol=vhost.MQ | vhost.REPLY_ACK) as other:
        assert other.getattr(ROOT)
    pool.run("daxfuse", "export", "--remove", "--socket", path, pool.point)
    until(lambda: report(path) is None)
    guest.close()


def test_answers_that_are_none(window_export, dialect, report):
    """The channel is not used any more; the guest gets errors, not more."""
    path = window_export(dialect)
    for i, answer in enumerate((b"", b"x" * 20, struct.pack("=IIIQ", 99, 5, 8, 0), struct.pack("=IIIQ", SHMEM_MAP, 1, 8, 0),
                   struct.pack("=IIIQ", SHMEM_MAP, 5, 4, 0))):
        guest = WindowGuest(path, dialect, UNITS * UNIT)
        guest.window.answer = answer
        node, _, fh = guest.create(ROOT, f"f{i}")
        guest.write(node, fh, b"bytes")
        assert error_of(guest.setup, node) == errno.EIO
        assert guest.read(node, fh) == b"bytes"
        guest.close()
        until(lambda: not report(path)["connected"])


# ---- all at once ---------------------------------------------------------------------------------------


def test_everything_at_once(attach, dialect, mnt):
    """Two guests map, store, truncate and punch one file, the host likewise; another file next to it takes
    and gives space. Its bytes are its own."""
    guests = [attach(dialect), attach(dialect)]
    (mnt / "f").write_bytes(b"f" * (8 * UNIT))
    stop, failed = threading.Event(), []

    def run(work):
        def loop():
            i = 0
            while not stop.is_set():
                try:
                    work(i)
                except OSError as error:
                    if error.errno not in (errno.ENXIO, errno.EBUSY, errno.ENOSPC):
                        failed.append(error)
                        return
                except Exception as error:  # noqa: B902 (a thread's)
                    failed.append(error)
                    return
                i += 1
        return threading.Thread(target=loop)

    def of_guest(guest, step):
        node, _ = guest.lookup(ROOT, "f")
        fh = guest.open(node)

        def work(i):
            unit, place = i * step % 8, i % UNITS * UNIT
            if i % 11 == 10:
                guest.setattr(node, SIZE, size=(i % 9) * UNIT // 2)
            elif i % 7 == 6:
                guest.fallocate(node, fh, PUNCH | KEEP_SIZE, unit * UNIT, UNIT)
            elif i % 5 == 4:
                guest.remove((0, UNITS * UNIT))
            else:
                guest.setup(node, unit * UNIT, place, writes=i % 2)
                if i % 2:
                    guest.store(place + 999 * i % UNIT, b"f")
                found = set(guest.load(place, UNIT))
                assert found <= {0, ord("f")}, found
        return work

    def of_host(i):
        if i % 3 == 0:
            os.truncate(mnt / "f", 8 * UNIT)
        (mnt / "other").write_bytes(b"o" * (3 * UNIT))
        assert set((mnt / "other").read_bytes()) == {ord("o")}
        os.unlink(mnt / "other")

    threads = [run(of_guest(guests[0], 3)), run(of_guest(guests[1], 5)), run(of_host)]
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed
    assert set((mnt / "f").read_bytes()) <= {0, ord("f")}
