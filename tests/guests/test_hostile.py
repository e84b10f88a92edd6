# SPDX-License-Identifier: BSD-3-Clause
"""
Guests and VMMs that do what they must not: each check of queues, descriptors, requests and messages.
Afterwards the same guest, or the next one, is served; and nothing of the pool was reached.
"""

import contextlib
import errno
import os
import select
import socket
import struct
import threading
import time

import pytest

from support import vhost
from support.vhost import (GUEST_BASE, IS_INDIRECT, MIB, NEXT, ROOT, USER_BASE, VERSION, WRITE, FrontEnd, Gone,
                           Guest)

NO_RESPONSE = 3  # seconds in which what must not happen would


def errors_of(function, *args, **kwargs):
    with pytest.raises(OSError) as caught:
        function(*args, **kwargs)
    return caught.value.errno


def put_chain(guest, *descs, queue=None):
    """Descriptors one after another from number 0, offered: what comes back was written with so much."""
    queue = queue or guest.queue
    for i, (addr, length, flags, following) in enumerate(descs):
        queue.put_desc(i, addr, length, flags, following)
    queue.offer(0)
    head, written = queue.wait()
    assert head == 0
    return written


def request(guest, room=128):
    """A good one (GETATTR), and a place for its answer: guest addresses."""
    data = guest.header(vhost.GETATTR, ROOT, 16) + bytes(16)
    return GUEST_BASE + guest.front.place(data), len(data), GUEST_BASE + guest.front.place(bytes(room)), room


# ---- chains: given back with nothing written ------------------------------------------------------

CHAINS = {
    "goes round": lambda a, n, b, m: [(a, n, NEXT, 1), (a, n, NEXT, 0)],
    "is itself": lambda a, n, b, m: [(a, n, NEXT, 0)],
    "leaves the queue": lambda a, n, b, m: [(a, n, NEXT, 64)],
    "far outside the queue": lambda a, n, b, m: [(a, n, NEXT, 65535)],
    "to be read after to be written": lambda a, n, b, m: [(b, m, WRITE | NEXT, 1), (a, n, 0, 0)],
    "behind the memory": lambda a, n, b, m: [(GUEST_BASE + 16 * MIB, n, NEXT, 1), (b, m, WRITE, 0)],
    "before the memory": lambda a, n, b, m: [(GUEST_BASE - 1, n, NEXT, 1), (b, m, WRITE, 0)],
    "across its end": lambda a, n, b, m: [(GUEST_BASE + 16 * MIB - 10, n, NEXT, 1), (b, m, WRITE, 0)],
    "wraps around": lambda a, n, b, m: [((1 << 64) - 20, n, NEXT, 1), (b, m, WRITE, 0)],
    "address of the VMM": lambda a, n, b, m: [(USER_BASE, n, NEXT, 1), (b, m, WRITE, 0)],
    "answer outside": lambda a, n, b, m: [(a, n, NEXT, 1), (0, m, WRITE, 0)],
    "as long as can be": lambda a, n, b, m: [(a, 0xffffffff, NEXT, 1), (b, m, WRITE, 0)],
    "longer than a request": lambda a, n, b, m: [(GUEST_BASE, 4 * MIB, NEXT, 1), (b, m, WRITE, 0)],
}


@pytest.mark.parametrize("kind", CHAINS)
def test_bad_chains(connect, export, report, kind):
    path = export()
    guest = connect(path)
    assert put_chain(guest, *CHAINS[kind](*request(guest))) == 0
    assert guest.getattr(ROOT)["nlink"] >= 2
    guest.close()
    while report(path)["connected"]:
        pass
    assert report(path)["bad_chains"] == 1


def table_of(*descs):
    return b"".join(struct.pack("QIHH", *desc) for desc in descs)


TABLES = {
    "is empty": (lambda a, n, b, m: b"", 0, 0),
    "is no whole number": (lambda a, n, b, m: table_of((a, n, NEXT, 1), (b, m, WRITE, 0)), 0, 31),
    "goes round": (lambda a, n, b, m: table_of((a, n, NEXT, 1), (a, n, NEXT, 0)), 0, None),
    "leaves itself": (lambda a, n, b, m: table_of((a, n, NEXT, 2), (b, m, WRITE, 0)), 0, None),
    "has a table in it": (lambda a, n, b, m: table_of((a, n, NEXT, 1), (b, 16, IS_INDIRECT, 0)), 0, None),
    "is not the last": (lambda a, n, b, m: table_of((a, n, NEXT, 1), (b, m, WRITE, 0)), NEXT, None),
    "is too long": (lambda a, n, b, m: table_of(*[(a, 0, NEXT, i + 1) for i in range(1200)]), 0, None),
}


@pytest.mark.parametrize("kind", TABLES)
def test_bad_tables(guest, kind):
    make, flags, length = TABLES[kind]
    table = make(*request(guest))
    at = GUEST_BASE + guest.front.place(table)
    length = len(table) if length is None else length
    assert put_chain(guest, (at, length, IS_INDIRECT | flags, 1), (0, 0, 0, 0)) == 0
    assert put_chain(guest, (GUEST_BASE + 16 * MIB - 16, 32, IS_INDIRECT, 0)) == 0
    assert guest.getattr(ROOT)["nlink"] >= 2


def test_a_table_behind_plain_descriptors(guest):
    """Which is allowed."""
    a, n, b, m = request(guest)
    table = GUEST_BASE + guest.front.place(table_of((b, m, WRITE, 0)))
    assert put_chain(guest, (a, n, NEXT, 1), (table, 16, IS_INDIRECT | WRITE, 0)) == 120


def test_tables_that_were_not_agreed_on(connect):
    guest = connect(features=vhost.PROTOCOL | vhost.VERSION_1)
    a, n, b, m = request(guest)
    at = GUEST_BASE + guest.front.place(table_of((a, n, NEXT, 1), (b, m, WRITE, 0)))
    assert put_chain(guest, (at, 32, IS_INDIRECT, 0)) == 0
    assert guest.getattr(ROOT)


def test_descriptors_without_bytes(guest):
    a, n, b, m = request(guest)
    assert put_chain(guest, (a, 0, NEXT, 1), (a, n, NEXT, 2), (b, 0, WRITE | NEXT, 3), (b, m, WRITE, 0)) == 120


# ---- rings: not used any more, until they are set up anew --------------------------------------------

RINGS = {
    "an index that jumps": lambda q: q.word(q.avail + 2, q.next_avail + 65),
    "an index that goes back": lambda q: q.word(q.avail + 2, q.next_avail - 1),
    "a head outside": lambda q: (q.word(q.avail + 4 + 2 * (q.next_avail % 64), 64),
                                 q.word(q.avail + 2, q.next_avail + 1)),
}


@pytest.mark.parametrize("kind", RINGS)
def test_broken_rings(guest, kind):
    queue = guest.queue
    RINGS[kind](queue)
    before = queue.used_index()
    queue.do_kick()
    with pytest.raises(vhost.Silent):
        queue.wait(NO_RESPONSE)
    # the other queue goes on
    assert len(guest.raw(vhost.GETATTR, ROOT, bytes(16), 128, guest.urgent)) == 120
    assert queue.used_index() == before
    base = queue.stop()
    queue.word(queue.avail + 2, base)
    queue.next_avail = base
    queue.start(base)
    assert guest.getattr(ROOT)


def test_an_event_index_from_elsewhere(guest):
    while select.select([guest.queue.call], [], [], 0.5)[0]:  # the interrupt of INIT may come late
        os.read(guest.queue.call, 8)
    guest.queue.word(guest.queue.avail + 4 + 2 * 64, 40000)
    a, n, b, m = request(guest)
    guest.queue.put_desc(0, a, n, NEXT, 1)
    guest.queue.put_desc(1, b, m, WRITE)
    guest.queue.offer(0)
    while guest.queue.used_index() == guest.queue.last_used & 0xffff:
        pass
    assert select.select([guest.queue.call], [], [], 1)[0] == []  # as it has asked for


# ---- requests ---------------------------------------------------------------------------------------

SHORT = {"LOOKUP": 1, "FORGET": 8, "GETATTR": 16, "SETATTR": 88, "SYMLINK": 2, "MKNOD": 17, "MKDIR": 9,
         "UNLINK": 1, "RMDIR": 1, "RENAME": 10, "LINK": 9, "OPEN": 8, "READ": 40, "WRITE_": 40,
         "RELEASE": 24, "FSYNC": 16, "SETXATTR": 17, "GETXATTR": 9, "LISTXATTR": 8, "REMOVEXATTR": 1,
         "INIT": 16, "READDIR": 40, "CREATE": 17, "BATCH_FORGET": 8, "FALLOCATE": 32, "READDIRPLUS": 40,
         "RENAME2": 18, "LSEEK": 24, "COPY_FILE_RANGE": 56, "TMPFILE": 16, "STATX": 24}


@pytest.mark.parametrize("name", SHORT)
def test_arguments_that_are_too_short(guest, name):
    """All lengths below the least one; without an end of a string, too."""
    opcode = getattr(vhost, name)
    for length in range(SHORT[name]):
        for byte in (b"\0", b"x"):
            answer = guest.raw(opcode, ROOT, byte * length, 4096)
            if opcode in (vhost.FORGET, vhost.BATCH_FORGET):
                assert answer == b""
            else:
                assert len(answer) == 16
                error = -int.from_bytes(answer[4:8], "little", signed=True)
                assert error in (errno.EINVAL, errno.EPROTO), (length, byte)
    assert guest.getattr(ROOT)


BAD_NAMES = [b"", b".", b"..", b"a/b", b"/", b"../x"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
def test_names_that_lead_out(guest, mnt, name):
    good, _ = guest.mknod(ROOT, "good")
    for call in (lambda: guest.lookup(ROOT, name), lambda: guest.mknod(ROOT, name),
                 lambda: guest.mkdir(ROOT, name), lambda: guest.symlink(ROOT, name, "x"),
                 lambda: guest.link(good, ROOT, name), lambda: guest.unlink(ROOT, name),
                 lambda: guest.rmdir(ROOT, name), lambda: guest.rename(ROOT, name, ROOT, "x"),
                 lambda: guest.rename(ROOT, "good", ROOT, name), lambda: guest.create(ROOT, name)):
        assert errors_of(call) == errno.EINVAL
    assert os.listdir(mnt) == ["good"]


def test_long_names(guest):
    guest.mknod(ROOT, "n" * 255)
    for length in (256, 5000):
        assert errors_of(guest.mknod, ROOT, "n" * length) == errno.ENAMETOOLONG
        assert errors_of(guest.lookup, ROOT, "n" * length) == errno.ENAMETOOLONG


def test_headers(guest):
    """Lengths that are not the request's, requests that are none, and before the first one."""
    for length in (0, 39, 41, 57, 1 << 31):
        data = struct.pack("IIQQIIIHH", length, vhost.GETATTR, 99, ROOT, 0, 0, 0, 0, 0) + bytes(16)
        answer = guest.queue.ask([data], 128)
        assert struct.unpack("IiQ", answer) == (16, -errno.EINVAL, 99)
    assert guest.queue.ask([bytes(39)], 128) == b""
    assert guest.queue.ask([], 128) == b""
    for opcode in (0, 7, 19, 63, 64, 4096, 0xffffffff):
        assert errors_of(guest.call, opcode, ROOT) == errno.ENOSYS


def test_before_the_greeting(connect):
    guest = connect(init=False)
    assert errors_of(guest.getattr, ROOT) == errno.ENOTCONN
    for major, minor in ((6, 45), (8, 0), (7, 30)):
        body = struct.pack("IIIIII", major, minor, 0, 0, 0, 0) + bytes(40)
        assert errors_of(guest.call, vhost.INIT, 0, body) == errno.EPROTO
    guest.init()
    assert guest.getattr(ROOT)


@pytest.mark.parametrize("room", [0, 1, 15])
def test_no_room_for_an_answer(guest, mnt, room):
    a, n, b, _ = request(guest)
    assert put_chain(guest, (a, n, NEXT, 1), (b, room, WRITE, 0)) == 0
    assert guest.getattr(ROOT)


def test_little_room(guest, mnt):
    """An answer that does not fit is an error of 16 bytes, and nothing is written behind the room."""
    (mnt / "f").write_bytes(b"x" * 4096)
    node, _ = guest.lookup(ROOT, "f")
    fh = guest.open(node)
    read = struct.pack("QQIIQII", fh, 0, 4096, 0, 0, 0, 0)
    for opcode, body, length in ((vhost.GETATTR, bytes(16), 104), (vhost.READ, read, 4096),
                                 (vhost.LOOKUP, b"f\0", 128), (vhost.STATFS, b"", 80)):
        for room in (16, 17, 16 + length - 1):
            answer = guest.raw(opcode, ROOT if opcode == vhost.LOOKUP else node, body, room)
            assert len(answer) == 16 and answer[4:8] != bytes(4)
        assert len(guest.raw(opcode, ROOT if opcode == vhost.LOOKUP else node, body, 16 + length)) == 16 + length
    guest.release(node, fh)


def test_nodes_that_were_never_given(guest, pool, mnt):
    """All other inodes of the pool, by their numbers."""
    outside = pool.point / "outside"
    outside.write_bytes(b"secret")
    (mnt / "not-looked-up").write_bytes(b"secret")
    good, _ = guest.mknod(ROOT, "good")
    fh = guest.open(good)
    try:
        for ino in (os.stat(outside).st_ino, os.stat(pool.point).st_ino, os.stat(mnt / "not-looked-up").st_ino,
                    0, 2, 3, 1 << 40, (1 << 64) - 1, os.stat(mnt).st_ino + (1 << 32)):
            for call in (lambda: guest.getattr(ino), lambda: guest.open(ino), lambda: guest.readdir(ino),
                         lambda: guest.lookup(ino, "x"), lambda: guest.link(ino, ROOT, "stolen"),
                         lambda: guest.rename(ROOT, "good", ino, "x"), lambda: guest.setattr(ino, vhost.SIZE),
                         lambda: guest.copy_range(good, fh, 0, ino, fh, 0, 1), lambda: guest.mknod(ino, "x"),
                         lambda: guest.getxattr(ino, "user.x"), lambda: guest.readlink(ino)):
                assert errors_of(call) == errno.ESTALE
        assert outside.read_bytes() == b"secret"
    finally:
        guest.release(good, fh)
        outside.unlink()


def test_handles_that_were_never_given(guest):
    node, _, fh = guest.create(ROOT, "f")
    other, _, other_fh = guest.create(ROOT, "g")
    guest.write(node, fh, b"bytes")
    gone = guest.open(node)
    guest.release(node, gone)
    for wrong in (gone, fh + 1000, fh + (1 << 32), fh | 1 << 63, (1 << 64) - 1, other_fh):
        for call in (lambda: guest.read(node, wrong), lambda: guest.write(node, wrong, b"x"),
                     lambda: guest.release(node, wrong), lambda: guest.fallocate(node, wrong, 0, 0, 1),
                     lambda: guest.copy_range(node, wrong, 0, node, fh, 0, 1),
                     lambda: guest.copy_range(node, fh, 0, node, wrong, 0, 1)):
            assert errors_of(call) == errno.EBADF
    assert guest.read(node, fh) == b"bytes"
    guest.release(node, fh)
    guest.release(other, other_fh)


def test_sizes_that_lie(guest):
    node, _, fh = guest.create(ROOT, "f")
    for size in (1, 100, MIB, MIB + 1, 0xffffffff):
        body = struct.pack("QQIIQII", fh, 0, size, 0, 0, 0, 0)
        assert errors_of(guest.call, vhost.WRITE_, node, body) == errno.EINVAL
    for size, offset in ((MIB + 1, 0), (0xffffffff, 0), (10, 1 << 63)):
        assert errors_of(guest.read, node, fh, offset, size, room=4096) == errno.EINVAL
    assert errors_of(guest.write, node, fh, b"x", (1 << 63) - 1) == errno.EFBIG
    for size in (2, 65536, 0xffffffff):
        body = struct.pack("4I", size, 0, 0, 0) + b"user.x\0y"
        assert errors_of(guest.call, vhost.SETXATTR, node, body) == errno.EINVAL
    batch = struct.pack("II", 0xffffffff, 0) + bytes(32)
    assert guest.raw(vhost.BATCH_FORGET, 0, batch, 0) == b""
    assert guest.getattr(node)["size"] == 0
    guest.release(node, fh)


def test_forgetting_what_was_not_told(guest):
    node, _ = guest.mknod(ROOT, "f")
    guest.forget(ROOT, 1 << 40)
    guest.forget(12345, 7)
    guest.forget(node, (1 << 64) - 1)
    guest.forget(node)
    assert errors_of(guest.getattr, node) == errno.ESTALE
    assert guest.getattr(guest.lookup(ROOT, "f")[0])


def test_forgetting_while_it_is_used(connect, export, mnt):
    """One queue writes to a node that the other one forgets, again and again."""
    guest = connect(export())
    (mnt / "f").touch()
    stop = threading.Event()

    def forget():
        other, unique = guest.urgent, 1
        while not stop.is_set():
            body = struct.pack("IIQQIIIHH", 48, vhost.FORGET, unique, ino, 0, 0, 0, 0, 0) + struct.pack("Q", 1)
            other.ask([body], 0)

    ino = os.stat(mnt / "f").st_ino
    thread = threading.Thread(target=forget)
    thread.start()
    try:
        for _ in range(300):
            try:
                node, _ = guest.lookup(ROOT, "f")
                fh = guest.open(node)
                guest.write(node, fh, b"x")
                guest.release(node, fh)
            except OSError as error:
                assert error.errno == errno.ESTALE
    finally:
        stop.set()
        thread.join()


def test_files_are_limited(connect, export, report):
    path = export()
    guest = connect(path)
    node, _ = guest.mknod(ROOT, "f")
    handles = []
    with pytest.raises(OSError) as caught:
        while True:
            handles.append(guest.open(node))
    assert caught.value.errno == errno.ENFILE
    assert len(handles) == 65536 == report(path)["files"]
    guest.release(node, handles.pop())
    guest.open(node)


def test_a_read_only_export(connect, export, mnt):
    (mnt / "f").write_bytes(b"bytes")
    guest = connect(export("--readonly"))
    node, _ = guest.lookup(ROOT, "f")
    fh = guest.open(node, os.O_RDONLY)
    before = os.stat(mnt / "f")
    for call in (lambda: guest.open(node, os.O_RDWR), lambda: guest.open(node, os.O_RDONLY | os.O_TRUNC),
                 lambda: guest.create(ROOT, "x"), lambda: guest.tmpfile(ROOT), lambda: guest.mkdir(ROOT, "x"),
                 lambda: guest.mknod(ROOT, "x"), lambda: guest.symlink(ROOT, "x", "y"),
                 lambda: guest.link(node, ROOT, "x"), lambda: guest.unlink(ROOT, "f"),
                 lambda: guest.rmdir(ROOT, "f"), lambda: guest.rename(ROOT, "f", ROOT, "g"),
                 lambda: guest.rename(ROOT, "f", ROOT, "g", flags=0), lambda: guest.write(node, fh, b"x"),
                 lambda: guest.setattr(node, vhost.SIZE), lambda: guest.setxattr(node, "user.x", b""),
                 lambda: guest.removexattr(node, "user.x"), lambda: guest.fallocate(node, fh, 0, 0, 1),
                 lambda: guest.copy_range(node, fh, 0, node, fh, 0, 1)):
        assert errors_of(call) == errno.EROFS
    assert guest.read(node, fh) == b"bytes"
    guest.release(node, fh)
    after = os.stat(mnt / "f")
    assert before == after


# ---- memory that goes away or is none ------------------------------------------------------------------


def test_memory_that_is_cut(connect, export):
    """The VMM truncates the file beneath: no signal ends the daemon, and the next one is served."""
    path = export()
    guest = connect(path)
    assert guest.getattr(ROOT)
    # the rings stay, what lies behind them goes
    os.ftruncate(guest.front.memfd, 2 * MIB)
    guest.queue.put_desc(0, GUEST_BASE + 4 * MIB, 56, NEXT, 1)
    guest.queue.put_desc(1, GUEST_BASE + 5 * MIB, 128, WRITE)
    guest.queue.offer(0)
    assert guest.queue.wait() == (0, 0)
    # and then all
    os.ftruncate(guest.front.memfd, 0)
    guest.queue.do_kick()
    assert guest.queue.stop() == guest.queue.next_avail
    guest.front.disconnect()
    assert connect(path).getattr(ROOT)


def test_memory_that_changes_while_requests_run(connect, export):
    """A table without the rings stops them; with them they go on where they were."""
    guest = connect(export())
    front = guest.front
    for _ in range(20):
        assert guest.getattr(ROOT)
        assert front.set_memory(front.region(user=1 << 30, guest=1 << 40)) == 0
        a, n, b, m = request(guest)
        guest.queue.put_desc(0, a, n, NEXT, 1)
        guest.queue.put_desc(1, b, m, WRITE)
        guest.queue.offer(0)
        assert guest.queue.used_index() == guest.queue.last_used & 0xffff
        assert front.set_memory() == 0
        assert guest.queue.wait() == (0, 120)


def test_regions_that_are_none(connect, export, mnt, tmp_path):
    path = export()
    guest = connect(path, init=False)
    front = guest.front
    size, page = front.size, 4096
    add = vhost.ADD_MEM_REG

    def slot(**how):
        return bytes(8) + front.region(**how)

    apart = dict(guest=1 << 44, user=1 << 45)
    for how in (dict(), dict(apart, size=0), dict(apart, size=page + 1), dict(apart, offset=1, size=page),
                dict(apart, size=size + page), dict(apart, offset=size, size=page),
                dict(apart, offset=(1 << 64) - page, size=page), dict(apart, guest=(1 << 64) - page),
                dict(apart, user=(1 << 64) - page), dict(apart, guest=(1 << 44) + 1),
                dict(apart, size=1 << 63), dict(apart, guest=GUEST_BASE + size - page, size=page),
                dict(apart, user=USER_BASE + size - page, size=page)):
        assert front.tell(add, slot(**how), [front.memfd]) == 1, how
    reader, writer = os.pipe()
    (mnt / "f").write_bytes(bytes(size))
    own = os.open(mnt / "f", os.O_RDWR)  # the daemon would wait for itself
    for fd in (reader, writer, own, vhost.eventfd(), os.open(tmp_path, os.O_RDONLY)):
        assert front.tell(add, slot(**apart), [fd]) == 1
        os.close(fd)
    assert front.tell(add, slot(**apart)) == 1
    assert front.tell(add, slot(**apart), [front.memfd] * 2) == 1
    assert front.tell(vhost.REM_MEM_REG, slot(**apart)) == 1
    for i in range(31):
        assert front.tell(add, slot(guest=(i + 8) << 44, user=(i + 8) << 43, size=page), [front.memfd]) == 0
    assert front.tell(add, slot(**apart), [front.memfd]) == 1
    assert front.tell(vhost.REM_MEM_REG, slot(guest=8 << 44, user=8 << 43, size=page)) == 0
    assert front.tell(add, slot(**apart), [front.memfd]) == 0
    guest.init()


# ---- messages --------------------------------------------------------------------------------------------

MESSAGES = {
    "of another version": lambda f: f.send(vhost.GET_FEATURES, flags=2),
    "that are replies": lambda f: f.send(vhost.GET_FEATURES, flags=VERSION | vhost.REPLY),
    "that are too long": lambda f: f.send(vhost.SET_FEATURES, bytes(8), size=1 << 30),
    "of a kind unknown": lambda f: f.send(77),
    "of a kind that is not there": lambda f: f.send(6, bytes(16)),
    "with features that were not offered": lambda f: f.send(vhost.SET_FEATURES, struct.pack("Q", 1 << 26)),
    "with protocol features likewise": lambda f: f.send(vhost.SET_PROTOCOL_FEATURES, struct.pack("Q", 1 << 22)),
    "with a short number": lambda f: f.send(vhost.SET_FEATURES, bytes(4)),
    "about a queue too many": lambda f: f.send(vhost.SET_VRING_NUM, struct.pack("II", 9, 64)),
    "about a queue far off": lambda f: f.send(vhost.SET_VRING_ADDR, struct.pack("II4Q", 1 << 31, 0, 0, 0, 0, 0)),
    "about the base of none": lambda f: f.send(vhost.GET_VRING_BASE, struct.pack("II", 99, 0)),
    "with a queue's size that is odd": lambda f: f.send(vhost.SET_VRING_NUM, struct.pack("II", 1, 63)),
    "with no size": lambda f: f.send(vhost.SET_VRING_NUM, struct.pack("II", 1, 0)),
    "with too large a size": lambda f: f.send(vhost.SET_VRING_NUM, struct.pack("II", 1, 2048)),
    "with a base that is no index": lambda f: f.send(vhost.SET_VRING_BASE, struct.pack("II", 1, 65536)),
    "without the kick": lambda f: f.send(vhost.SET_VRING_KICK, struct.pack("Q", 1)),
    "with a kick that is a file": lambda f: f.send(vhost.SET_VRING_KICK, struct.pack("Q", 1), [f.memfd]),
    "with a call that is a file": lambda f: f.send(vhost.SET_VRING_CALL, struct.pack("Q", 1), [f.memfd]),
    "with a table without files": lambda f: f.send(vhost.SET_MEM_TABLE, struct.pack("II", 1, 0) + f.region()),
    "with a table that is cut": lambda f: f.send(vhost.SET_MEM_TABLE, struct.pack("II", 2, 0) + f.region(),
                                                 [f.memfd] * 2),
    "with too long a table": lambda f: f.send(vhost.SET_MEM_TABLE, struct.pack("II", 9, 0) + f.region() * 9,
                                              [f.memfd] * 8),
    "with configuration out of range": lambda f: f.send(vhost.GET_CONFIG, struct.pack("III", 250, 40, 0) +
                                                        bytes(40)),
    "with configuration without room": lambda f: f.send(vhost.GET_CONFIG, struct.pack("III", 0, 40, 0)),
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_bad_messages(export, kind):
    """Without acknowledgements they end the connection; no descriptor is kept."""
    path = export()
    with FrontEnd(path, protocol=0) as front:
        MESSAGES[kind](front)
        with pytest.raises(Gone):
            front.ask(vhost.GET_FEATURES)
    with Guest(path) as guest:
        assert guest.getattr(ROOT)


def test_a_message_in_pieces_and_half_of_one(export):
    path = export()
    for end in range(1, 20):
        with FrontEnd(path, start=False) as front:
            front.socket.sendall((struct.pack("III", vhost.SET_FEATURES, 1, 8) + bytes(8))[:end])
    with FrontEnd(path, start=False) as front:
        for byte in struct.pack("III", vhost.GET_FEATURES, 1, 0):
            front.socket.sendall(bytes([byte]))
        front.receive(vhost.GET_FEATURES)


def test_descriptors_are_not_kept(export, pool):
    path = export()
    folder = f"/proc/{pool.serving()}/fd"
    before = len(os.listdir(folder))
    for _ in range(3):
        with FrontEnd(path, protocol=0) as front:
            for _ in range(100):
                front.send(vhost.SET_VRING_CALL, struct.pack("Q", 1), [vhost_fd := vhost.eventfd()])
                os.close(vhost_fd)
            socket.send_fds(front.socket, [struct.pack("III", vhost.SET_OWNER, 1, 0)], [front.memfd] * 20)
            front.ask(vhost.GET_FEATURES)
    while len(os.listdir(folder)) > before:
        pass


def test_a_vmm_that_reads_no_answers(make_pool, socket_dir):
    """Nobody waits for it: neither the removal of its export, nor the unmount."""
    pool = make_pool()
    pool.mount()
    path = socket_dir / "s"
    pool.run("daxfuse", "export", "--socket", path, "--tag", "t", pool.point)
    front = FrontEnd(path, start=False)
    front.socket.setblocking(False)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        with contextlib.suppress(BlockingIOError):
            front.socket.send(struct.pack("III", vhost.GET_FEATURES, vhost.VERSION, 0))
    pool.run("daxfuse", "export", "--remove", "--socket", path, pool.point)
    pool.umount()
    front.close()
