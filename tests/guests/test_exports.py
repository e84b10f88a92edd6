# SPDX-License-Identifier: BSD-3-Clause
"""The life of exports, and of front ends that come and go."""

import errno
import json
import os
import re
import stat
import struct
import subprocess
import threading
import time

import pytest

from support import vhost
from support.process import fails
from support.vhost import PROTOCOL, ROOT, VERSION_1, FrontEnd, Gone, Guest


def until(condition):
    """What happens soon; a test that hangs is ended from outside."""
    while not condition():
        time.sleep(0.01)


def command(pool, *words):
    done = subprocess.run([pool.bin_dir / "daxfuse", "export", *map(str, words)], capture_output=True, text=True)
    return done.returncode, done.stderr


def test_an_export_is_listed(export, connect, report, mnt):
    path = export("--readonly", "--cache", "none")
    found = report(path)
    assert found["tag"] == path.stem and found["read_only"] and found["cache"] == "none"
    assert found["root"] == os.stat(mnt).st_ino
    assert not found["connected"] and found["connections"] == 0
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    guest = connect(path)
    found = report(path)
    assert found["connected"] and found["connections"] == 1 and found["requests"] == 1
    guest.close()
    until(lambda: not report(path)["connected"])


def test_removing(export, connect, report, pool, mnt):
    path = export()
    guest = connect(path)
    node, _, _ = guest.create(ROOT, "f")
    pool.run("daxfuse", "export", "--remove", "--socket", path, pool.point)
    with pytest.raises(Gone):
        guest.front.ask(vhost.GET_FEATURES)
    assert report(path) is None and not path.exists()
    code, text = command(pool, "--remove", "--socket", path, pool.point)
    assert code == 1 and "No such file" in text
    (mnt / "f").unlink()


def test_what_cannot_be_exported(export, pool, mnt, socket_dir):
    path = export()
    (mnt / "f").touch()
    other = socket_dir / "other"
    for words, text in (
            (["--socket", path, "--tag", "new"], "already"),
            (["--socket", other, "--tag", path.stem], "already"),
            (["--socket", pool.point / "s", "--tag", "x"], "on the mount itself"),
            (["--socket", mnt / "s", "--tag", "x"], "on the mount itself"),
            (["--socket", socket_dir / ("x" * 120), "--tag", "x"], "107 bytes"),
            (["--socket", "/nowhere/at/all", "--tag", "x"], "No such file"),
            (["--socket", other, "--tag", "x", "--subdir", "missing"], "No such file"),
            (["--socket", other, "--tag", "x", "--subdir", (mnt / "f").relative_to(pool.point)], "Not a directory"),
            (["--socket", other, "--tag", "x", "--subdir", "/proc"], "Invalid cross-device"),
            (["--socket", other, "--tag", "a\nb"], "control characters")):
        code, said = command(pool, *words, pool.point)
        assert code == 1 and text in said, (words, said)
    for words in (["--tag", "x"], ["--socket", other], ["--socket", other, "--tag", "x" * 37],
                  ["--socket", other, "--tag", "x", "--cache", "much"]):
        assert command(pool, *words, pool.point)[0] == 1
    assert command(pool, "--socket", other, "--tag", "x", "/tmp")[0] == 1
    assert not other.exists()


def test_what_lies_at_the_path(pool, socket_dir):
    """A file is left alone, and so is a socket that somebody listens at; one that was left over is not."""
    path = socket_dir / "s"
    path.write_text("mine")
    assert "in use" in command(pool, "--socket", path, "--tag", "x", pool.point)[1]
    assert path.read_text() == "mine"
    path.unlink()
    with vhost.socket.socket(vhost.socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert "in use" in command(pool, "--socket", path, "--tag", "x", pool.point)[1]
    assert command(pool, "--socket", path, "--tag", "x", pool.point) == (0, "")
    with Guest(path) as guest:
        assert guest.getattr(ROOT)
    assert command(pool, "--remove", "--socket", path, pool.point)[0] == 0


@pytest.mark.parametrize("end", ["disconnect", "DESTROY", "INIT", "RESET_DEVICE"])
def test_all_is_let_go_of(export, report, mnt, pool, end):
    """Open files and known nodes, also those without a name, however the guest ends."""
    path = export()
    free = pool.free()
    guest = Guest(path)
    for i in range(20):
        node, _, fh = guest.create(ROOT, f"f{i}")
        guest.write(node, fh, bytes(100_000))
        guest.unlink(ROOT, f"f{i}")
    node, _, fh = guest.tmpfile(ROOT)
    guest.write(node, fh, bytes(100_000))
    found = report(path)
    assert found["files"] == 21 and found["nodes"] == 22
    if end == "DESTROY":
        guest.call(vhost.DESTROY, 0)
    elif end == "INIT":
        guest.init()
    elif end == "RESET_DEVICE":
        guest.front.must(vhost.RESET_DEVICE)
    guest.front.disconnect()
    until(lambda: (report(path)["files"], report(path)["nodes"]) == (0, 1))
    # what the test before has removed may be freed only now
    until(lambda: all(now >= before for now, before in zip(pool.free(), free)))
    guest.close()


def test_front_ends_come_and_go(export, report, mnt):
    path = export()
    for i in range(10):
        guest = Guest(path, size=1 << (i % 8 + 1) if i % 8 else 128, memory=(8 + i) << 20)
        node, _, fh = guest.create(ROOT, f"f{i}")
        assert guest.write(node, fh, b"here") == 4
        guest.front.disconnect()
    until(lambda: report(path)["nodes"] == 1)
    assert report(path)["connections"] == 10
    assert sorted(os.listdir(mnt)) == sorted(f"f{i}" for i in range(10))


def test_a_device_that_is_stopped_goes_on(connect):
    """stop and cont of a VMM: everything is known as before, and queues go on where they were."""
    guest = connect()
    node, _, fh = guest.create(ROOT, "f")
    guest.write(node, fh, b"before")
    for _ in range(3):
        base = guest.queue.stop()
        assert base == guest.queue.next_avail
        guest.queue.start(base)
        assert guest.read(node, fh) == b"before"
    guest.release(node, fh)


def test_a_queue_that_is_disabled(connect):
    guest = connect()
    front, queue = guest.front, guest.queue
    front.must(vhost.SET_VRING_ENABLE, struct.pack("II", 1, 0))
    body = guest.header(vhost.GETATTR, ROOT, 16) + bytes(16)
    queue.chain([body], 128)
    queue.offer(0)
    with pytest.raises(vhost.Silent):
        queue.wait(1)
    front.must(vhost.SET_VRING_ENABLE, struct.pack("II", 1, 1))
    assert queue.wait() == (0, 120)


def test_an_old_front_end(connect):
    """Nothing but the rings: no protocol features, enabled from the start."""
    guest = connect(features=VERSION_1, protocol=0)
    assert guest.getattr(ROOT)


def test_the_configuration(export):
    path = export()
    with FrontEnd(path) as front:
        assert front.number(vhost.GET_QUEUE_NUM) == 9
        assert front.number(vhost.GET_MAX_MEM_SLOTS) == 32
        data = front.ask(vhost.GET_CONFIG, struct.pack("III", 0, 40, 0) + bytes(40))
        assert data[12:48].rstrip(b"\0").decode() == path.stem and data[48:52] == b"\1\0\0\0"
        data = front.ask(vhost.GET_CONFIG, struct.pack("III", 36, 4, 0) + bytes(4))
        assert data[12:] == b"\1\0\0\0"


def test_several_queues_at_once(export, mnt):
    """Eight of them, each with its own thread; indexes of both sides go round."""
    with FrontEnd(export()) as front:
        queues = [front.queue(i, 8) for i in range(1, 9)]
        guest = Guest.__new__(Guest)
        guest.front, guest.queue, guest.urgent = front, queues[0], queues[0]
        guest.uid = guest.gid = guest.unique = 0
        guest.indirect, guest.pieces = False, 1
        guest.init()
        expected = len(guest.raw(vhost.GETATTR, ROOT, bytes(16), 128))
        lengths = []

        def work(queue, at):
            header = struct.pack("IIQQIIIHH", 56, vhost.GETATTR, 7, ROOT, 0, 0, 0, 0, 0) + bytes(16)
            front.memory[at:at + 56] = header
            for _ in range(500):
                queue.put_desc(0, vhost.GUEST_BASE + at, 56, vhost.NEXT, 1)
                queue.put_desc(1, vhost.GUEST_BASE + at + 64, 128, vhost.WRITE)
                queue.offer(0)
                lengths.append(queue.wait()[1])

        threads = [threading.Thread(target=work, args=(queue, 8 * vhost.MIB + 4096 * i))
                   for i, queue in enumerate(queues)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert lengths == [expected] * 4000


def test_two_guests_and_the_host(export, connect, mnt):
    """On one directory, each with an export of its own."""
    one, two = connect(export()), connect(export())
    node, _, fh = one.create(ROOT, "f")
    one.write(node, fh, b"one")
    other, _ = two.lookup(ROOT, "f")
    to = two.open(other)
    two.write(other, to, b"two", 3)
    assert (mnt / "f").read_bytes() == b"onetwo" == one.read(node, fh)
    two.unlink(ROOT, "f")
    assert not (mnt / "f").exists()
    with pytest.raises(OSError) as caught:
        one.lookup(ROOT, "f")
    assert caught.value.errno == errno.ENOENT
    assert one.read(node, fh) == b"onetwo"
    one.release(node, fh)
    two.release(other, to)


def test_with_the_mount(make_pool, socket_dir):
    """Exports end with it, in the middle of requests; the pool is sound, and open files are freed."""
    pool = make_pool()
    pool.mount()
    path = socket_dir / "s"
    pool.run("daxfuse", "export", "--socket", path, "--tag", "t", pool.point)
    guest = Guest(path, limit=5)
    node, _, fh = guest.tmpfile(ROOT)
    guest.write(node, fh, bytes(1 << 20))
    stopped = threading.Event()

    def write():
        try:
            while True:
                guest.write(node, fh, bytes(1 << 16))
                guest.release(*guest.create(ROOT, "f")[::2])
                guest.unlink(ROOT, "f")
        except (OSError, vhost.Silent):
            pass
        stopped.set()

    thread = threading.Thread(target=write)
    thread.start()
    time.sleep(0.2)
    pool.umount()
    thread.join()
    assert stopped.is_set() and not path.exists()
    pool.fsck()
    guest.close()


def test_as_options_of_the_mount(make_pool, socket_dir):
    pool = make_pool()
    pool.mount()
    (pool.point / "a/b").mkdir(parents=True)
    (pool.point / "a/b/f").write_text("bytes")
    one, two = socket_dir / "one", socket_dir / "two"
    pool.remount(f"export={one}:one:a/b:ro", f"export={two}:two")
    with Guest(one) as guest:
        node, _ = guest.lookup(ROOT, "f")
        assert guest.read(node, guest.open(node, os.O_RDONLY), 0, 5) == b"bytes"
        with fails("EROFS"):
            guest.mkdir(ROOT, "d")
    pool.run("daxfuse", "export", "--remove", "--socket", one, pool.point)
    pool.run("daxfuse", "restart", pool.point)  # it does not come back
    with Guest(two) as guest:
        assert guest.walk("a/b/f")
    [export] = json.loads(pool.run("daxfuse", "status", pool.point))["exports"]
    assert export["tag"] == "two"
    pool.umount()
    assert list(socket_dir.iterdir()) == []


def test_all_of_an_export_as_an_option(make_pool, socket_dir):
    """What daxfuse export can say, the option can."""
    pool = make_pool()
    pool.mount()
    (pool.point / "a").mkdir()
    ino = os.stat(pool.point / "a").st_ino
    one, two, three = (socket_dir / name for name in ("one", "two", "three"))
    pool.remount(f"export={one}:one:a:cache=none:window=16M:vmm=crosvm:ro", f"export={two}:two::cache=always",
                 f"export={three}:three::window=64M")
    found = {each["tag"]: each for each in json.loads(pool.run("daxfuse", "status", pool.point))["exports"]}
    words = {tag: (each["root"] == ino, each["read_only"], each["cache"],
                   each.get("window") and (each["window"]["vmm"], each["window"]["bytes"]))
             for tag, each in found.items()}
    assert words == {"one": (True, True, "none", ("crosvm", 16 << 20)), "two": (False, False, "always", None),
                     "three": (False, False, "auto", ("qemu", 64 << 20))}
    with Guest(two) as guest:
        assert guest.lookup(ROOT, "a")[1]["ino"] == ino
    pool.umount()


@pytest.mark.parametrize("option, word", [
    ("/s", "TAG is missing"), ("s:t", "a path from the root"), ("/s:t:missing", "No such file"),
    ("/s:t:file", "Not a directory"), ("/s:t:.:rw", "followed by ro,"), ("/s:t:..", "Invalid"),
    ("/missing/s:t", "No such file"), ("/s:" + 37 * "t", "1 to 36 bytes"), ("/s:", "1 to 36 bytes"),
    ("/" + 100 * "s" + ":t", "107 bytes"), ("/s:t::cache=much", "none, auto or always"),
    ("/s:t::cache", "take a value"), ("/s:t::ro=1", "takes no value"), ("/s:t::vmm=xen", "qemu, crosvm or alioth"),
    ("/s:t::window=3M", "multiple of 2M"), ("/s:t::window=0", "multiple of 2M"), ("/s:t::window=x", "multiple of 2M"),
    ("/s:t::window=1G", "512M at most"), ("/s:t::window=6M:vmm=crosvm", "power of two"),
    ("/s:t::ro:window=2M", "read-only"), ("/s:t::tag=u", "followed by ro,"), ("/s:t::", "followed by ro,")])
def test_options_that_are_wrong(make_pool, socket_dir, option, word):
    """The mount fails, and leaves nothing."""
    pool = make_pool()
    pool.mount()
    (pool.point / "file").touch()
    pool.umount()
    if option[0] == "/":
        option = f"{socket_dir}{option}"
    done = subprocess.run([pool.bin_dir / "daxfuse", "-o", f"export={socket_dir}/good:good,export={option}", pool.image,
                           pool.point], capture_output=True, text=True)
    assert done.returncode and word in done.stderr
    assert not os.path.ismount(pool.point) and list(socket_dir.iterdir()) == []


def test_many_exports(export, report, pool):
    """The status has room for some of them, and says how many there are in any case."""
    paths = [export() for _ in range(64)]
    status = json.loads(pool.run("daxfuse", "status", pool.point))
    assert status["exports"] == 64
    assert command(pool, "--socket", paths[0].parent / "more", "--tag", "more", pool.point)[0] == 1
    with Guest(paths[40]) as guest:
        assert guest.getattr(ROOT)


def test_the_page_has_each_test():
    """docs/design/guests.md names tests: they are there."""
    from pathlib import Path
    root = Path(__file__).parents[2]
    page = (root / "docs/design/guests.md").read_text()
    tests = "".join(path.read_text() for path in (root / "tests").glob("*/test_*.py"))
    for name in re.findall(r"`(test_\w+)`", page):
        assert f"def {name}(" in tests or (root / f"tests/guests/{name}.py").exists(), name
