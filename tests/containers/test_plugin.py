# SPDX-License-Identifier: BSD-3-Clause
"""The volume plugin, asked as Docker and Podman ask it, and as nobody should."""

import json
import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.plugin import ActivatedPlugin, Plugin, PluginError, podman_headers, wait_until
from support.pool import MIB

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs trusted xattrs")

PODMAN_ID = "2f73349cfc4630255319c6c8dfc1b46a8996ace9d14d8e07563b165915918ec2"


@pytest.fixture
def plugin(pool, bin_dir, tmp_path):
    plugin = Plugin(bin_dir, pool.point, tmp_path).start()
    yield plugin
    if plugin.process.poll() is not None:
        return
    try:
        for volume in plugin.ask("List")["Volumes"]:
            plugin.ask("Remove", Name=volume["Name"])
        wait_until(lambda: not os.path.exists(pool.point / "volumes/.removed")
                   or not os.listdir(pool.point / "volumes/.removed"))
    finally:
        plugin.stop()


def names(plugin):
    return [volume["Name"] for volume in plugin.ask("List")["Volumes"]]


# ---- as engines ask

def test_activate(plugin):
    for body in (None, {}):
        assert plugin.post("/Plugin.Activate", body) == (200, {"Implements": ["VolumeDriver"], "Err": ""})
        status, answer = plugin.post("/VolumeDriver.Capabilities", body)
        assert status == 200 and answer["Capabilities"] == {"Scope": "local"}
        assert plugin.post("/VolumeDriver.List", body)[0] == 200


def test_dockers_sequence(plugin, pool):
    """create, run, end, rm."""
    path = str(pool.point / "volumes/db")
    for _ in range(2):
        with pytest.raises(PluginError, match="db: no such volume"):
            plugin.ask("Get", Name="db")
        plugin.ask("Create", Name="db", Opts={"size": "8M", "uid": "7"})
        shown = plugin.ask("Get", Name="db")["Volume"]
        assert shown["Mountpoint"] == path and shown["CreatedAt"].endswith("Z")
        assert shown["Status"]["size"] == 8 * MIB and shown["Status"]["mounts"] == 0
        first, second = "a" * 64, "b" * 64
        assert plugin.ask("Mount", Name="db", ID=first)["Mountpoint"] == path
        assert plugin.ask("Mount", Name="db", ID=second)["Mountpoint"] == path
        assert plugin.ask("Mount", Name="db", ID=second)["Mountpoint"] == path
        assert plugin.ask("Get", Name="db")["Volume"]["Status"]["mounts"] == 2
        assert plugin.ask("Path", Name="db")["Mountpoint"] == path
        for known in (first, first, second, "c" * 64):
            plugin.ask("Unmount", Name="db", ID=known)
        assert plugin.ask("Get", Name="db")["Volume"]["Status"]["mounts"] == 0
        assert names(plugin) == ["db"] and os.stat(path).st_uid == 7
        plugin.ask("Remove", Name="db")
        assert names(plugin) == []


def test_options_that_are_none(plugin):
    """Docker says null, Podman nothing."""
    plugin.ask("Create", Name="a", Opts=None)
    plugin.ask("Create", Name="b")
    plugin.ask("Create", Name="c", Opts={})
    plugin.ask("Create", Name="a")
    assert names(plugin) == ["a", "b", "c"]


def test_podmans_requests(plugin, pool):
    assert as_podman(plugin, "Create", Name="p", Opts={"size": "4M"})[0] == 200
    for _ in range(2):
        assert as_podman(plugin, "Mount", Name="p", ID=PODMAN_ID)[1]["Mountpoint"] == str(pool.point / "volumes/p")
    assert as_podman(plugin, "Unmount", Name="p", ID=PODMAN_ID)[1] == {"Err": ""}
    assert as_podman(plugin, "Get", Name="q") == (500, {"Err": "q: no such volume"})


def test_clients_that_do_not_wait(plugin):
    """Podman's processes end early."""
    plugin.ask("Create", Name="a")
    for _ in range(50):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(plugin.path))
            connection.sendall(b'POST /VolumeDriver.Get HTTP/1.1\r\nHost: plugin\r\nContent-Length: 12\r\n\r\n{"Name":"a"}')
    assert names(plugin) == ["a"]


def test_many_at_once(plugin):
    """From both engines at the same time."""
    def life(i):
        name = f"v{i}"
        plugin.ask("Create", Name=name, Opts={"size": "1M"})
        plugin.ask("Mount", Name=name, ID=f"id{i}")
        plugin.ask("Unmount", Name=name, ID=f"id{i}")
        plugin.ask("Remove", Name=name)
        return plugin.ask("Get", Name="kept")["Volume"]["Name"]

    plugin.ask("Create", Name="kept")
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(life, range(64))) == ["kept"] * 64
    assert names(plugin) == ["kept"]


def test_errors_are_told(plugin):
    plugin.ask("Create", Name="db", Opts={"size": "8M"})
    for fields, said in (
            (dict(Name="db", Opts={"size": "9M"}), "other options"),
            (dict(Name="x", Opts={"size": "99T"}), "more than the pool has"),
            (dict(Name="x", Opts={"colour": "red"}), "not an option"),
            (dict(Name="x", Opts={"size": 5}), "not a value"),
            (dict(Name="x", Opts=["size"]), "must be an object"),
            (dict(Name="x", Opts="size=1"), "must be an object")):
        with pytest.raises(PluginError, match=said):
            plugin.ask("Create", **fields)
    assert "not an option" in plugin.log()
    assert names(plugin) == ["db"]


# ---- deaths

def test_what_was_told_to_one_process_is_known_to_the_next(plugin, pool):
    plugin.ask("Create", Name="db", Opts={"size": "8M"})
    plugin.ask("Mount", Name="db", ID="one")
    plugin.kill()
    (pool.point / "volumes/db/f").write_text("goes on")
    plugin.start()
    assert plugin.ask("Get", Name="db")["Volume"]["Status"]["mounts"] == 1
    plugin.ask("Unmount", Name="db", ID="one")
    plugin.ask("Mount", Name="db", ID="two")
    plugin.ask("Remove", Name="db")  # a mount that is none any more blocks nothing
    plugin.ask("Create", Name="db")
    assert plugin.ask("Get", Name="db")["Volume"]["Status"]["mounts"] == 0


def test_an_unmount_of_what_is_gone(plugin):
    """Docker drops an error there, Podman keeps its count for ever."""
    plugin.ask("Unmount", Name="never", ID="x")
    plugin.ask("Create", Name="db")
    plugin.ask("Mount", Name="db", ID="x")
    plugin.ask("Remove", Name="db")
    plugin.ask("Unmount", Name="db", ID="x")


def test_removal_goes_on_after_a_crash(plugin, pool):
    for name in "ab":
        plugin.ask("Create", Name=name)
        for i in range(300):
            (pool.point / f"volumes/{name}/{i}").touch()
    plugin.ask("Remove", Name="a")
    plugin.kill()
    plugin.start()
    plugin.ask("Remove", Name="b")
    wait_until(lambda: not os.listdir(pool.point / "volumes/.removed"))


def as_podman(plugin, what, **fields):
    """(status, object)"""
    body = json.dumps(fields).encode()
    answer = plugin.raw(f"POST /VolumeDriver.{what} HTTP/1.1\r\n".encode() +
                        "\r\n".join(podman_headers(len(body))).encode() + b"\r\n\r\n" + body)
    return int(answer.split()[1]), json.loads(answer.split(b"\r\n\r\n")[1])


def check_unsure(plugin, said):
    """Docker makes a local volume of that name if it hears anything but a volume, so it hears nothing;
    or that it is there, if it has been mounted before."""
    assert as_podman(plugin, "Get", Name="new") == (500, {"Err": as_podman(plugin, "Get", Name="new")[1]["Err"]})
    assert said in as_podman(plugin, "Get", Name="new")[1]["Err"]
    body = json.dumps({"Name": "new"}).encode()
    request = b"POST /VolumeDriver.Get HTTP/1.1\r\nHost:\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert plugin.raw(request + body) == b""
    status, answer = plugin.post("/VolumeDriver.Get", {"Name": "db"})
    assert status == 200 and said in answer["Volume"]["Status"]["error"]


def test_a_second_try_of_docker(plugin):
    """It has lost its body, and must not hear that there is no such volume."""
    plugin.ask("Create", Name="db")
    assert plugin.raw(b"POST /VolumeDriver.Get HTTP/1.1\r\nHost:\r\nContent-Length: 0\r\n\r\n") == b""
    for what in ("Create", "Mount", "Remove", "Unmount"):
        assert plugin.post(f"/VolumeDriver.{what}", b"")[0] == 500


def test_without_the_pool(plugin, pool):
    plugin.ask("Create", Name="db")
    plugin.ask("Mount", Name="db", ID="x")
    pool.umount()
    try:
        for what in ("List", "Create", "Remove", "Mount", "Path"):
            with pytest.raises(PluginError, match="no pool is mounted"):
                plugin.ask(what, Name="db", ID="x")
        check_unsure(plugin, "no pool is mounted")
        plugin.ask("Unmount", Name="db", ID="x")
        assert plugin.post("/Plugin.Activate")[0] == 200
        assert os.listdir(pool.point) == []
    finally:
        pool.mount()
    assert names(plugin) == ["db"]


def test_a_pool_that_hangs(plugin, pool):
    """Each answer comes all the same, and says so."""
    plugin.ask("Create", Name="db")
    plugin.ask("Mount", Name="db", ID="before")
    serving = pool.serving()
    os.kill(serving, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(8) as threads:
            def ask(i):
                with pytest.raises(PluginError, match="does not answer"):
                    plugin.ask(("List", "Mount", "Create")[i % 3], patient=False, Name="db", ID=f"{i}")
            list(threads.map(ask, range(8)))
        check_unsure(plugin, "does not answer")
        plugin.ask("Unmount", Name="db", ID="1")
    finally:
        os.kill(serving, signal.SIGCONT)
    assert names(plugin) == ["db"]


def test_a_restart_of_the_pools_daemon(plugin, pool):
    stop = threading.Event()

    def restart():
        while not stop.is_set():
            pool.run("daxfuse", "restart", pool.point)

    thread = threading.Thread(target=restart)
    thread.start()
    try:
        done = 0
        while done < 20:
            try:
                plugin.ask("Create", Name=f"v{done}", Opts={"size": "1M"})
                plugin.ask("Mount", Name=f"v{done}", ID="x")
                done += 1
            except PluginError as error:
                assert "does not answer" in str(error)  # engines try again
    finally:
        stop.set()
        thread.join()
    assert len(names(plugin)) == 20


def test_the_socket_of_systemd(pool, bin_dir, tmp_path):
    """It is there before the plugin, and after it."""
    plugin = ActivatedPlugin(bin_dir, pool.point, tmp_path)
    for end in (plugin.stop, plugin.kill):
        plugin.start()
        assert plugin.post("/Plugin.Activate")[0] == 200
        end()
        assert plugin.path.exists()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(plugin.path))  # before it is started
        connection.sendall(b"POST /Plugin.Activate HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        plugin.start()
        assert b"VolumeDriver" in connection.recv(1000)
    plugin.close()


def test_the_socket_is_roots(plugin):
    assert os.stat(plugin.path).st_mode & 0o777 == 0o700


def test_one_at_a_time(plugin, bin_dir, tool, tmp_path):
    said = tool("daxfuse", "volumes", "--pool", "/x", "--socket", plugin.path, code=1).stderr
    assert "in use" in said
    assert names(plugin) == []


# ---- hostile

BAD_BODIES = [b"", b"\n", b"{", b"}", b"null", b"[]", b'"Name"', b"5", b'{"Name"}', b'{"Name":}', b'{"Name":5}',
              b'{"Name":null}', b'{"Name":["a"]}', b'{"Name":"a"}{"Name":"b"}', b'{"Name":"a"} x', b"{}",
              b'{"name":"a"}x', b"\x00", b'{"Name":"a"}\x00', b'{"Name":"a\\u0000b"}', b'{"Name":"\xff\xfe"}',
              b"[" * 5000, b'{"Name":' * 3000, b'{"Name":"' + b"a" * 5000 + b'"}', b"\xef\xbb\xbf{}",
              b'{"Name":"a","Opts":' + b"[" * 100 + b"]" * 100 + b"}"]
BAD_NAMES = ["", ".", "..", "../x", "a/b", "/etc", "-x", ".removed", "a\nb", "a\x00b", "ä", "a" * 256, "a" * 60000]
ALL = ["Create", "Remove", "Mount", "Path", "Unmount", "Get"]


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: body[:20].decode("latin-1").encode("unicode_escape").decode())
def test_bodies_that_are_none(plugin, body):
    for what in ALL:
        if what == "Get":
            assert as_podman(plugin, what)[0] == 500
            continue
        status, answer = plugin.post(f"/VolumeDriver.{what}", body)
        assert status == 500 and answer["Err"], what
    assert names(plugin) == []


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: ascii(name[:10]))
def test_names_that_are_none(plugin, pool, name):
    for what in ALL:
        status, answer = plugin.post(f"/VolumeDriver.{what}", {"Name": name, "ID": "x"})
        assert status == 500 and "Name" in answer["Err"], what
    assert names(plugin) == []
    assert set(os.listdir(pool.point)) <= {"volumes"}


@pytest.mark.parametrize("id", ["", "..", "../../x", "a/b", "x" * 300, "\n"])
def test_ids_that_are_none(plugin, id):
    plugin.ask("Create", Name="a")
    with pytest.raises(PluginError, match="ID"):
        plugin.ask("Mount", Name="a", ID=id)
    with pytest.raises(PluginError, match="ID"):
        plugin.ask("Mount", Name="a", ID=5)
    plugin.ask("Unmount", Name="a", ID=id)
    assert plugin.ask("Get", Name="a")["Volume"]["Status"]["mounts"] == 0


@pytest.mark.parametrize("request_line", ["GET /VolumeDriver.List", "PUT /Plugin.Activate", "POST /", "POST /x",
                                          "POST /VolumeDriver.List/..", "DELETE /VolumeDriver.Remove",
                                          "POST /VolumeDriver.Destroy", "POST /volumedriver.list"])
def test_requests_that_are_none(plugin, request_line):
    answer = plugin.raw(f"{request_line} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
    assert answer.split()[1] == b"500" and json.loads(answer.split(b"\r\n\r\n")[1])["Err"]


GARBAGE = [b"\r\n\r\n", b"POST\r\n\r\n", b"\x00" * 100, b"\xff" * 5000, b"POST /x HTTP/9.9\r\n\r\n", b"A" * 100_000,
           b"POST /Plugin.Activate HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
           b"POST /Plugin.Activate HTTP/1.1\r\nContent-Length: x\r\n\r\n",
           b"POST /Plugin.Activate HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
           b"POST /Plugin.Activate HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
           b"POST /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n"]


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_bytes_that_are_no_http(plugin, data):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(plugin.path))
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(60)
            while connection.recv(65536):
                pass
        except OSError:
            pass
    assert names(plugin) == []


def test_bodies_that_are_huge(plugin):
    for size in ((64 << 10) + 1, 1 << 20, 1 << 40, 1 << 63):
        answer = plugin.raw(b"POST /VolumeDriver.Create HTTP/1.1\r\nHost: x\r\n" +
                            f"Content-Length: {size}\r\n\r\n".encode() + b"{" * min(size, 1 << 20))
        assert not answer or answer.split()[1] in (b"500", b"413", b"400"), size
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    answer = plugin.raw(b"POST /VolumeDriver.Create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" +
                        chunk * 4 + b"0\r\n\r\n")
    assert b"too large" in answer
    plugin.raw(b"POST /VolumeDriver.Create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 64)
    assert names(plugin) == []
    status = open(f"/proc/{plugin.process.pid}/status").read()
    assert int(status.split("VmRSS:")[1].split()[0]) < 200_000


def test_a_body_in_pieces(plugin):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(plugin.path))
        for byte in b'POST /VolumeDriver.Create HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n{"Name":"a"}':
            connection.sendall(bytes([byte]))
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert names(plugin) == ["a"]


def test_connections_that_say_nothing(plugin):
    """Others are served meanwhile."""
    idle = []
    for _ in range(100):
        idle.append(socket.socket(socket.AF_UNIX))
        idle[-1].connect(str(plugin.path))
    assert names(plugin) == []
    for connection in idle:
        connection.close()


def test_every_request_with_random_bytes(plugin):
    import random
    numbers = random.Random(7)
    for _ in range(300):
        body = bytearray(b'{"Name":"a","ID":"b","Opts":{"size":"1M"}}')
        for _ in range(numbers.randrange(1, 6)):
            body[numbers.randrange(len(body))] = numbers.randrange(256)
        status, answer = plugin.post(f"/VolumeDriver.{numbers.choice(ALL)}", bytes(body), host="plugin")
        assert status in (200, 500) and "Err" in answer
    assert plugin.process.poll() is None
