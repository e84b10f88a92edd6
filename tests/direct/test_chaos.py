# SPDX-License-Identifier: BSD-3-Clause
"""
Programs that map, store, stop, die and do not answer, while others change the files beneath them and
the daemon is killed, all at random.

Each page holds its file's number and a counter, over and over, or zeroes. What must hold:

- no byte of one file is seen in another one, in a mapping or by read();
- all that was stored in a file that nobody else cuts is there, whichever process died since;
- nothing waits for much longer than the second that a program has for its answer;
- when all programs have gone no space is held back, and fsck finds nothing.

DAXFUSE_CHAOS=SECONDS[:SEED] is the long form.
"""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import random
import signal
import struct
import time
import traceback

import pytest

from support.direct import (EAGER, LET_GO, PAGE, PIN, READ, TO_END, UNIT, UNPIN, WRITABLE, WRITE,
                            Message, Program)
from support.pool import MIB
from support.process import eventually

from direct.test_mapping import status
from direct.test_revocation import COLLAPSE, INSERT, PUNCH_HOLE, clear_log

SECONDS, _, SEED = os.environ.get("DAXFUSE_CHAOS", "12:0").partition(":")
SECONDS, SEED = float(SECONDS), int(SEED or time.time_ns())
PATIENCE = 20  # seconds: a dozen times what is allowed, as this machine has other things to do
FILES, CHANGERS, MAPPERS, LEDGERS, LEDGER_PAGES = 6, 2, 3, 2, 1200
SIZE_MAX = 6 * UNIT
REALIGN = 3 << 30 | 16 << 16 | 0xdf << 8 | 9
RANGE = 1 << 30 | 24 << 16 | 0xdf << 8 | 6
# Files come and go, the pool is full, a program does not let go, the daemon has just died.
EXPECTED = {errno.ENOENT, errno.ENOSPC, errno.EBUSY, errno.ENXIO, errno.ENOTCONN, errno.ESTALE,
            errno.EINVAL, errno.EEXIST, errno.EPIPE, errno.ECONNRESET, errno.ECONNREFUSED,
            errno.EBADF}

libc = ctypes.CDLL(None, use_errno=True)


class Board:
    """What the processes share: when to end, what went wrong, how long it took, ledgers."""

    HEADER = 4096

    def __init__(self):
        self.memory = mmap.mmap(-1, self.HEADER + LEDGERS * LEDGER_PAGES * 8 + (1 << 20))

    def _get(self, at):
        return struct.unpack_from("<Q", self.memory, at)[0]

    def _set(self, at, value):
        struct.pack_into("<Q", self.memory, at, value)

    def stop(self):
        self._set(0, 1)

    def is_over(self):
        return self._get(0) != 0

    def next_number(self, who):
        """Of a file: no other one gets it."""
        at = 512 + 8 * who
        self._set(at, self._get(at) + 1)
        return (who + 1) << 20 | self._get(at)

    def took(self, who, seconds):
        at = 1024 + 8 * who
        self._set(at, max(self._get(at), int(seconds * 1000)))

    def longest(self):
        """Of those that are not stopped themselves."""
        return max(self._get(1024 + 8 * who) for who in range(CHANGERS)) / 1000

    def did(self, who):
        at = 2048 + 8 * who
        self._set(at, self._get(at) + 1)

    def done(self):
        return sum(self._get(2048 + 8 * who) for who in range(64))

    def acknowledged(self, ledger, page):
        return self._get(self.HEADER + (ledger * LEDGER_PAGES + page) * 8)

    def acknowledge(self, ledger, page, counter):
        self._set(self.HEADER + (ledger * LEDGER_PAGES + page) * 8, counter)

    def complain(self, text):
        at = self.HEADER + LEDGERS * LEDGER_PAGES * 8
        if not self.memory[at]:
            data = text.encode()[-60000:]
            self.memory[at + 1:at + 1 + len(data)] = data
            self.memory[at] = 1
        self.stop()

    def complaint(self):
        at = self.HEADER + LEDGERS * LEDGER_PAGES * 8
        return self.memory[at + 1:at + 60002].rstrip(b"\0").decode() if self.memory[at] else None


def page_of(number, counter):
    return struct.pack("<II", number, counter) * (PAGE // 8)


def check(data, number, what):
    """All of it is the file's, or zeroes."""
    for at in range(0, len(data), PAGE):
        page = data[at:at + PAGE]
        if page == bytes(len(page)) or page == page[:8] * (len(page) // 8) and page[:4] == struct.pack("<I", number):
            continue
        words = struct.unpack(f"<{len(page) // 4}I", page[:len(page) // 4 * 4])
        strange = set(words[::2]) - {0, number}
        assert not strange, f"{what}: {strange} in page {at // PAGE} of file {number}"


class Actor:
    """One process; its life is a loop of random deeds."""

    def __init__(self, board, folder, who, seed):
        self.board, self.folder, self.who = board, folder, who
        self.rng = random.Random(seed)
        self.counter = 0

    def path(self):
        return self.folder / f"f{self.rng.randrange(FILES)}"

    def open(self, path=None):
        """A descriptor, and the number of what is behind it."""
        fd = os.open(path or self.path(), os.O_RDWR)
        try:
            return fd, struct.unpack("<I", os.getxattr(fd, "user.number"))[0]
        except OSError:
            os.close(fd)
            raise

    def pages(self, number, count):
        self.counter += 1
        return page_of(number, self.counter) * count

    def range(self):
        """Page-aligned, anywhere; sometimes whole units."""
        grain = self.rng.choice((PAGE, PAGE, UNIT))
        offset = self.rng.randrange(SIZE_MAX // grain) * grain
        return offset, self.rng.choice((1, 1, 2, 5, 100)) * grain

    def live(self):
        while not self.board.is_over():
            begin = time.monotonic()
            try:
                self.rng.choice(self.deeds)()
            except OSError as error:
                if error.errno not in EXPECTED:
                    raise
            self.board.took(self.who, time.monotonic() - begin)
            self.board.did(self.who)


class Changer(Actor):
    """Processes that use files without mapping them."""

    def __init__(self, *args):
        super().__init__(*args)
        self.deeds = (self.write, self.write, self.write, self.read, self.read, self.cut, self.punch,
                      self.shift, self.make, self.make, self.remove, self.realign, self.fill)

    def write(self):
        fd, number = self.open()
        with contextlib.closing(os.fdopen(fd, "rb", buffering=0)):
            offset, length = self.range()
            os.pwrite(fd, self.pages(number, min(length, UNIT) // PAGE), offset)

    def read(self):
        fd, number = self.open()
        with contextlib.closing(os.fdopen(fd, "rb", buffering=0)):
            offset, length = self.range()
            check(os.pread(fd, length, offset), number, "read")

    def cut(self):
        path = self.path()
        size = self.rng.choice((0, 0, self.range()[0], self.rng.randrange(SIZE_MAX) // 8 * 8))
        os.truncate(path, size)

    def punch(self):
        fd, _ = self.open()
        with contextlib.closing(os.fdopen(fd, "rb", buffering=0)):
            offset, length = self.range()
            libc.fallocate(fd, self.rng.choice((PUNCH_HOLE, 0)), ctypes.c_long(offset),
                           ctypes.c_long(length))

    def shift(self):
        fd, _ = self.open()
        with contextlib.closing(os.fdopen(fd, "rb", buffering=0)):
            size = os.fstat(fd).st_size
            mode = COLLAPSE if size > SIZE_MAX // 2 else INSERT
            offset, length = self.range()
            fcntl.ioctl(fd, RANGE, struct.pack("IIQQ", mode, 0, offset, min(length, UNIT)))

    def make(self):
        """A new file, over an old one."""
        if self.rng.random() < 0.6:
            return
        number = self.board.next_number(self.who)
        temporary = self.folder / f"new{self.who}"
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        with contextlib.closing(os.fdopen(fd, "rb", buffering=0)):
            os.setxattr(fd, "user.number", struct.pack("<I", number))
            os.rename(temporary, self.path())
            for at in range(0, self.rng.randrange(SIZE_MAX), UNIT // 4):
                os.pwrite(fd, self.pages(number, UNIT // 4 // PAGE), at)

    def remove(self):
        if self.rng.random() < 0.3:
            os.unlink(self.path())

    def realign(self):
        fd, _ = self.open()
        with contextlib.closing(os.fdopen(fd, "rb", buffering=0)):
            offset = 0
            while offset < TO_END:
                answer = bytearray(struct.pack("QIi", offset, 0, 0))
                fcntl.ioctl(fd, REALIGN, answer)
                offset, _, error = struct.unpack("QIi", answer)
                if error:
                    return

    def fill(self):
        """Take all the space there is, for a moment."""
        if self.rng.random() < 0.7:
            return
        number = self.board.next_number(self.who)
        path = self.folder / f"fill{self.who}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        with contextlib.closing(os.fdopen(fd, "rb", buffering=0)):
            with contextlib.suppress(OSError):
                while not self.board.is_over():
                    if os.write(fd, self.pages(number, 512)) < UNIT:
                        break
            for at in range(0, os.fstat(fd).st_size, UNIT):
                check(os.pread(fd, UNIT, at), number, "fill")
            os.unlink(path)


class Mapper(Actor):
    """Maps, loads, stores; may be mute. Its listener thread unmaps with program.lock held."""

    def __init__(self, *args):
        super().__init__(*args)
        self.files = []
        self.deeds = 6 * (self.load,) + 3 * (self.map,) + 2 * (self.store,) + (
            self.change, self.let_go, self.close, self.pin, self.promote, self.answer)
        self.program = Program(self.folder, answers=self.rng.random() < 0.6)

    def file(self):
        """(file, its number); a new one sometimes."""
        if len(self.files) < 4 and self.rng.random() < 0.5 or not self.files:
            file = self.program.open(self.path())
            number = struct.unpack("<I", os.getxattr(file.fd, "user.number"))[0]
            self.files.append((file, number))
        return self.rng.choice(self.files)

    def connect(self):
        """The daemon was replaced: a program that had zeroes may have missed a write there."""
        with self.program.lock:
            for file, _ in self.files:
                file.drop_zeroes()
        self.program.connect(self.program.session)

    def map(self):
        file, _ = self.file()
        offset, length = self.range()
        try:
            file.map(offset, self.rng.choice((length, TO_END)),
                     access=self.rng.choice((READ, WRITE, EAGER)), pages=self.rng.randrange(2))
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            self.connect()

    def piece(self):
        """One that is mapped now, with program.lock held: (piece, address, number)."""
        file, number = self.file()
        if not file.pieces:
            return None, None, number
        return *self.rng.choice(list(file.pieces.values())), number

    def load(self):
        """Some of it whole, and a little of as much as there is."""
        for _ in range(100):
            with self.program.lock:
                piece, address, number = self.piece()
                if piece:
                    at = self.rng.randrange(piece.length // 8) * 8
                    check(ctypes.string_at(address + at, 8), number,
                          f"mapping at {piece.file_offset + at}")
        with self.program.lock:
            piece, address, number = self.piece()
            if piece:
                at = self.rng.randrange(piece.length // PAGE) * PAGE
                length = min(piece.length - at, 16 * PAGE)
                check(ctypes.string_at(address + at, length), number,
                      f"mapping at {piece.file_offset + at}")

    def store(self):
        with self.program.lock:
            piece, address, number = self.piece()
            if piece and piece.flags & WRITABLE:
                at = self.rng.randrange(piece.length // PAGE) * PAGE
                ctypes.memmove(address + at, self.pages(number, 1), PAGE)

    def change(self):
        """Of a file that may have no name any more."""
        file, number = self.file()
        offset, length = self.range()
        self.rng.choice((
            lambda: os.ftruncate(file.fd, 0),
            lambda: os.ftruncate(file.fd, offset),
            lambda: os.pwrite(file.fd, self.pages(number, min(length, UNIT) // PAGE), offset)))()

    def let_go(self):
        if self.rng.random() < 0.7:
            return
        file, _ = self.file()
        offset, length = self.range()
        file.let_go(offset, self.rng.choice((length, TO_END)))

    def close(self):
        if self.files and self.rng.random() < 0.3:
            file, _ = self.files.pop(self.rng.randrange(len(self.files)))
            file.close()

    def pin(self):
        file, _ = self.file()
        offset, length = self.range()
        file.pin(offset, length)
        if self.rng.random() < 0.7:
            file.unpin(offset, length)

    def promote(self):
        file, _ = self.file()
        file.promote(*self.range())

    def answer(self):
        """A mute one lets go of what it was asked for, at last."""
        if self.program.answers or self.rng.random() < 0.9:
            return
        with self.program.lock:
            asked, self.program.asked = self.program.asked, []
            for message in asked:
                file = self.program.files.get(message.cookie)
                if file:
                    file.drop(message.offset, message.length)
                message.kind = LET_GO
                self.program.socket.send(bytes(message))


class Ledger(Actor):
    """Nobody else cuts its file. What it has stored is acknowledged on the board after it was."""

    def __init__(self, board, folder, who, seed, ledger):
        super().__init__(board, folder, who, seed)
        self.ledger = ledger
        self.number = 0xee00 + ledger
        self.program = Program(folder)
        self.handle = self.program.open(folder / f"ledger{ledger}")
        self.deeds = (self.store, self.store, self.store, self.write, self.look, self.map, self.map,
                      self.promote)

    def map(self):
        page = self.rng.randrange(LEDGER_PAGES)
        try:
            self.handle.map(page * PAGE, self.rng.choice((PAGE, UNIT, TO_END)), access=WRITE,
                            pages=self.rng.randrange(2))
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            self.program.connect(self.program.session)

    def store(self):
        page = self.rng.randrange(LEDGER_PAGES)
        counter = self.board.acknowledged(self.ledger, page) + 1
        with self.program.lock:
            try:
                self.handle.store(page * PAGE, page_of(self.number, counter))
            except RuntimeError:
                return  # not mapped
        self.board.acknowledge(self.ledger, page, counter)

    def write(self):
        page = self.rng.randrange(LEDGER_PAGES)
        counter = self.board.acknowledged(self.ledger, page) + 1
        os.pwrite(self.handle.fd, page_of(self.number, counter), page * PAGE)
        self.board.acknowledge(self.ledger, page, counter)

    def promote(self):
        self.handle.promote(0, LEDGER_PAGES * PAGE)

    def look(self):
        verify_ledger(self.board, self.folder, self.ledger, self.number)


def verify_ledger(board, folder, ledger, number):
    """A process that was killed may have stored one more, or a part of it."""
    with open(folder / f"ledger{ledger}", "rb", buffering=0) as file:
        for page in range(LEDGER_PAGES):
            before = board.acknowledged(ledger, page)
            words = set(struct.iter_unpack("<II", os.pread(file.fileno(), PAGE, page * PAGE)))
            right = {(number, before), (number, before + 1)} | ({(0, 0)} if not before else set())
            assert words <= right, f"ledger {ledger}, page {page}: {words}, not {before}"


def spawn(board, make):
    pid = os.fork()
    if pid:
        return pid
    try:
        make().live()
        os._exit(0)
    except BaseException:
        board.complain(traceback.format_exc())
        os._exit(1)


class Chaos:
    """The parent: it starts the others, stops them, kills them, and the daemon."""

    def __init__(self, pool, rng):
        self.pool, self.rng, self.board = pool, rng, Board()
        self.actors, self.stopped = {}, set()
        self.kills = {"actors": 0, "daemons": 0, "stops": 0}
        folder = pool.point
        makers = [lambda who, seed: Changer(self.board, folder, who, seed)] * CHANGERS
        makers += [lambda who, seed: Mapper(self.board, folder, who, seed)] * MAPPERS
        makers += [lambda who, seed, n=n: Ledger(self.board, folder, who, seed, n)
                   for n in range(LEDGERS)]
        self.makers = makers
        for ledger in range(LEDGERS):
            with open(folder / f"ledger{ledger}", "wb") as file:
                file.truncate(LEDGER_PAGES * PAGE)

    def start(self, who):
        seed = self.rng.getrandbits(32)
        self.actors[who] = spawn(self.board, lambda: self.makers[who](who, seed))

    def kill(self):
        who = self.rng.randrange(CHANGERS, len(self.makers))
        os.kill(self.actors[who], signal.SIGKILL)
        os.waitpid(self.actors[who], 0)
        self.stopped.discard(who)
        self.kills["actors"] += 1
        self.start(who)

    def stop(self):
        who = self.rng.randrange(CHANGERS, len(self.makers))
        if who in self.stopped:
            os.kill(self.actors[who], signal.SIGCONT)
            self.stopped.discard(who)
        else:
            os.kill(self.actors[who], signal.SIGSTOP)
            self.stopped.add(who)
            self.kills["stops"] += 1

    def kill_daemon(self):
        serving = self.pool.serving()
        if serving != self.pool.daemon.pid:
            os.kill(serving, signal.SIGKILL)
            self.kills["daemons"] += 1

    def run(self, seconds):
        for who in range(len(self.makers)):
            self.start(who)
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end and not self.board.is_over():
                time.sleep(self.rng.random() * 0.8)
                self.rng.choice((self.kill, self.stop, self.stop, self.stop, self.kill_daemon))()
        finally:
            self.end()

    def end(self):
        self.board.stop()
        for pid in self.actors.values():
            os.kill(pid, signal.SIGCONT)
        deadline = time.monotonic() + PATIENCE
        for who, pid in self.actors.items():
            while os.waitpid(pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > deadline:
                    self.board.complain(f"actor {who} hangs: "
                                        + open(f"/proc/{pid}/stack").read())
                    self.pool.shoot()
                    deadline += PATIENCE
                time.sleep(0.01)


def test_chaos(make_pool):
    pool = make_pool(64 * MIB)
    chaos = Chaos(pool, random.Random(SEED))
    with pool.watched():
        chaos.run(SECONDS)
    board = chaos.board
    clear_log(pool)
    print(f"seed {SEED}: {board.done()} deeds, {chaos.kills}, the longest took {board.longest()} s")
    assert not board.complaint(), f"seed {SEED}: {board.complaint()}"
    assert board.longest() < PATIENCE
    for ledger in range(LEDGERS):
        verify_ledger(board, pool.point, ledger, 0xee00 + ledger)
    assert eventually(lambda: status(pool)["quarantined"], 0) == 0
    assert status(pool)["files"] == 0
    for path in pool.point.iterdir():
        path.unlink()
    time.sleep(1.5)  # files without a name that a dead daemon has left are freed a second later
    free = pool.free()
    clear_log(pool)
    pool.remount()
    assert pool.free() == free
