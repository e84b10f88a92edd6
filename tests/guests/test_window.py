# SPDX-License-Identifier: BSD-3-Clause
"""
The DAX window: units of files, mapped by a VMM that is the test itself, so that each byte is looked at
where a guest would. The VMMs differ (Dialect); what is not about one of them is tested with all.
"""

import errno
import os
import struct
import subprocess
import threading
import time

import pytest

from functional.conftest import make_pool  # noqa: F401 (fixture)
from guests.windowed import (KEEP_SIZE, PUNCH, UNITS, attach, dialect, error_of, guest, pattern,  # noqa: F401 (fixtures)
                             requests, units, until, window_export)
from support import vhost
from support.pool import MIB
from support.vhost import (ATTR_DAX, QEMU, ROOT, SHMEM_UNMAP, SIZE, UNIT, FrontEnd, Guest, WindowGuest)


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
