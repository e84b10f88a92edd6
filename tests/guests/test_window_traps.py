# SPDX-License-Identifier: BSD-3-Clause
"""A DAX window and the traps of its platforms, by the numbers that docs/design/guests.md gives them."""

import errno
import json
import os
import struct
import subprocess
import threading
import time

import pytest

from functional.conftest import make_pool  # noqa: F401 (fixture)
from guests.windowed import (COLLAPSE, INSERT, KEEP_SIZE, PUNCH, UNITS, attach, dialect, error_of, guest,  # noqa: F401 (fixtures)
                             pattern, requests, units, until, window_export)
from support import vhost
from support.pool import MIB
from support.vhost import (BARRIER, QEMU, ROOT, SHMEM_MAP, SHMEM_UNMAP, SIZE, UNIT, WindowGuest)


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
