# SPDX-License-Identifier: BSD-3-Clause
"""
Volumes as people meet them: with Docker and with Podman. A container writes numbers to its volume while
something dies or is started again; nothing that it has written is lost, and the volume can be removed
in the end.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import threading
from pathlib import Path

import pytest

from support.engines import USR, Docker, EngineError, Podman, kill_and_wait, make_image
from support.plugin import ActivatedPlugin, Plugin, wait_until
from support.pool import MIB

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="engines run as root"),
]
ENGINES = [pytest.param(engine, marks=pytest.mark.skipif(shutil.which(program) is None, reason=f"no {program}"))
           for engine, program in ((Docker, "dockerd"), (Podman, "podman"))]

# Each number is durable when the next one is written.
WRITER = "i=$(tail -n 1 /d/log 2>/dev/null); i=${i:-0}; while :; do i=$((i+1)); echo $i >>/d/log; sleep 0.01; done"


class World:
    """A pool, the plugin for it, and an engine."""

    def __init__(self, pool, plugin, engine):
        self.pool, self.plugin, self.engine = pool, plugin, engine

    def numbers(self, volume="db"):
        path = self.pool.point / "volumes" / volume / "log"
        text = path.read_text() if path.exists() else ""
        return [int(line) for line in text.split("\n")[:-1]]

    def check_goes_on(self, volume="db"):
        """All numbers are there, and more come."""
        before = self.numbers(volume)[-1:] or [0]
        wait_until(lambda: self.numbers(volume)[-1:] > [before[0] + 3])
        self.check_whole(volume)

    def check_whole(self, volume="db"):
        found = self.numbers(volume)
        assert found == list(range(1, len(found) + 1))

    def check_limit(self, volume="db"):
        """The size holds, for root in a container."""
        said = self.engine.script(volume, "dd if=/dev/zero of=/d/fill bs=1M count=64 2>&1; stat -c %s /d/fill; "
                                          "rm /d/fill")
        assert "quota exceeded" in said.lower() and int(said.split()[-1]) <= 16 * MIB


@pytest.fixture(scope="module", params=ENGINES, ids=lambda engine: engine.name)
def engine_world(request, make_pool_in, bin_dir, huge_dir, tmp_path_factory):
    """One for all tests of an engine: it takes seconds to start."""
    folder = tmp_path_factory.mktemp("world")
    pool = make_pool_in(f"engines-{request.param.name}")
    driver = f"daxfuse-test-{os.getpid()}"
    socket_path = Path("/run/docker/plugins") / f"{driver}.sock"
    plugin = ActivatedPlugin(bin_dir, pool.point, folder, socket_path).start()
    # Docker's storage wants a file system that overlayfs can lie on
    engine = None
    try:
        engine = request.param(huge_dir / f"engine-{request.param.name}", driver, socket_path)
        engine.load(make_image(folder))
        yield World(pool, plugin, engine)
    finally:
        if engine:
            engine.close()
        plugin.close()
        pool.put_away()


@pytest.fixture
def world(engine_world):
    yield engine_world
    for name in engine_world.engine.run("ps", "-a", "--format", "{{.Names}}").split():
        engine_world.engine.remove(name)
    for name in engine_world.engine.volumes():
        engine_world.engine.run("volume", "rm", name)
    assert json.loads(engine_world.pool.run("daxfuse", "volume", "ls", engine_world.pool.point)) == []


# ---- volumes

def test_life_of_a_volume(world):
    engine = world.engine
    engine.create("db", "size=16M", "uid=1234", "mode=700")
    assert "db" in engine.volumes()
    shown = engine.inspect("db")
    assert shown["Status"]["size"] == 16 * MIB
    said = engine.script("db", "df -k /d | tail -n 1; stat -c '%u %a' /d; echo kept >/d/f")
    assert "16384" in said and "1234 700" in said
    assert engine.script("db", "cat /d/f") == "kept\n"
    assert engine.script("db", "echo mine >/d/g; id -u; cat /d/g", "-u", "1234") == "1234\nmine\n"
    world.check_limit()
    engine.run("volume", "rm", "db")
    assert "db" not in engine.volumes() and not (world.pool.point / "volumes/db").exists()


def test_errors_reach_the_user(world):
    engine = world.engine
    for options, said in ((["size=99T"], "more than the pool has"), (["colour=red"], "not an option"),
                          (["size=much"], "not a value")):
        with pytest.raises(EngineError, match=said):
            engine.create("x", *options)
    engine.create("db", "inodes=5")
    said = engine.script("db", "for i in 1 2 3 4 5 6; do touch /d/$i 2>&1; done; true")
    assert "quota exceeded" in said.lower()


def test_names_that_docker_does_not_check(world):
    for name in ("../x", "a/b", "x" * 300):
        with pytest.raises(EngineError):
            world.engine.create(name, "size=1M")
    assert world.engine.volumes() == set()


def test_content_of_the_image(world):
    """A new volume gets what the image has there; Docker gives it the owner and mode, too."""
    engine = world.engine
    engine.create("web", "size=4M")
    said = engine.run("run", "--rm", "--network", "none", "-v", "web:/full", *USR, "empty:1", "cat",
                      "/full/of-the-image")
    assert said == "copied"
    stat = os.stat(world.pool.point / "volumes/web/of-the-image")
    assert stat.st_uid == 33


def test_in_use(world):
    engine = world.engine
    engine.create("db", "size=16M")
    engine.begin("box", "db", WRITER)
    world.check_goes_on()
    with pytest.raises(EngineError):
        engine.run("volume", "rm", "db")
    world.pool.run("daxfuse", "volume", "rm", world.pool.point, "db", code=1)
    world.check_goes_on()


def test_two_containers_share_one(world):
    engine = world.engine
    engine.create("db", "size=16M")
    engine.begin("one", "db", WRITER)
    engine.begin("two", "db", "sleep 1000")
    assert int(engine.run("exec", "two", "head", "-n", "1", "/d/log")) == 1
    engine.remove("two")
    world.check_goes_on()
    engine.remove("one")
    world.check_whole()


COMPOSE = """
services:
  db:
    image: empty:1
    network_mode: none
    command: ["sh", "-c", "stat -c 'owner %u' /data; df -k /data; echo kept >>/data/f"]
    volumes: ["data:/data", "/usr:/usr:ro"]
volumes:
  data:
    driver: {driver}
    driver_opts: {{ size: 16M, uid: "999" }}
"""


def test_compose(world, tmp_path):
    engine = world.engine
    if engine.name == "podman" or engine.status("compose", "version"):
        pytest.skip("no docker compose")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/compose.yaml").write_text(COMPOSE.format(driver=engine.driver))
    words = ("compose", "-f", tmp_path / "shop/compose.yaml")
    for _ in range(2):
        said = engine.run(*words, "up")
        assert "owner 999" in said and "16384" in said
        engine.run(*words, "down")
    assert engine.volumes() == {"shop_data"}
    assert (world.pool.point / "volumes/shop_data/f").read_text() == "kept\n" * 2
    engine.run(*words, "down", "-v")
    assert engine.volumes() == set()


# ---- who may do what, from real containers

@pytest.mark.parametrize("words", [
    "quota /d 2000000000 --bytes 1G", "quota /d 7 --assign", "label /d evil", "restart /d", "watch --once /d",
    "volume create /d x"], ids=lambda words: words.split()[0])
def test_root_in_a_container_controls_nothing(world, words):
    engine = world.engine
    engine.create("db", "size=16M")
    binds = ("-v", f"{world.pool.bin_dir}:/daxfuse:ro")
    said = engine.script("db", f"/daxfuse/daxfuse {words} >/dev/null 2>&1; echo $?", *binds)
    assert said == "1\n"
    world.check_limit()


def test_projects_stay(world):
    """By chattr, as root of the container."""
    engine = world.engine
    engine.create("db", "size=16M")
    said = engine.script("db", "chattr -P /d 2>&1; chattr -p 0 /d 2>&1; mkdir /d/sub; chattr -p 5 /d/sub 2>&1; "
                               "lsattr -pd /d /d/sub")
    assert said.count("not permitted") == 3
    assert re.findall(r"^ *(\d+)", said, re.M)[-2:] == ["2000000000"] * 2
    world.check_limit()


def test_with_a_user_namespace(world):
    engine = world.engine
    if engine.name == "docker":
        pytest.skip("Docker has one for the whole daemon only")
    engine.create("db", "size=16M", "uid=100000", "gid=100000")
    binds = ("-v", f"{world.pool.bin_dir}:/daxfuse:ro", "--uidmap", "0:100000:65536")
    said = engine.script("db", "echo x >/d/f && stat -c %u /d /d/f; /daxfuse/daxfuse quota /d 7 --bytes 1G; echo $?",
                         *binds)
    assert said == "0\n0\n1\n"
    assert os.stat(world.pool.point / "volumes/db/f").st_uid == 100000


def test_huge_mappings(world, huge_dir):
    """With the library and the socket bound, without any capability."""
    engine = world.engine
    engine.create("db", "size=64M")
    (world.pool.point / "volumes/db/f").write_bytes(bytes(32 * MIB))
    lib = world.pool.bin_dir.parent / "lib"
    touch = Path(__file__).parents[2] / "contrib/touch-pages"
    options = ("-v", "/run/daxfuse:/run/daxfuse:ro", "-v", f"{lib}:/daxmap:ro", "-v", f"{touch}:/touch-pages:ro",
               "-e", "LD_PRELOAD=/daxmap/libdaxmap-preload.so", "--cap-drop=all", "--read-only",
               "--security-opt", "no-new-privileges")
    said = engine.run("run", "--rm", "--network", "none", "-v", "db:/d", *USR, *options, "empty:1",
                      "python3", "/touch-pages", "/d/f")
    if os.path.ismount(huge_dir):
        assert "32 MiB mapped in huge pages" in said
    without = [word for word in options if "/run/daxfuse" not in word or word == "-v"]
    without.remove("-v")
    said = engine.run("run", "--rm", "--network", "none", "-v", "db:/d", *USR, *without, "empty:1",
                      "python3", "/touch-pages", "/d/f")
    assert " 0 MiB mapped in huge pages" in said


# ---- what may die

def kill_plugin(world):
    """The container notices nothing, nor does the engine: the socket is there still."""
    world.plugin.kill()
    world.check_goes_on()
    world.plugin.start()


def restart_daemon(world):
    world.pool.run("daxfuse", "restart", world.pool.point)


def kill_daemon(world):
    os.kill(world.pool.serving(), signal.SIGKILL)
    world.check_goes_on()
    world.pool.log.write_text("")  # which tells of it


def kill_container(world):
    kill_and_wait(world.engine.pid("box"))
    wait_until(lambda: not world.engine.is_running("box"))
    world.check_whole()
    world.engine.run("start", "box")


def stop_and_start(world):
    world.engine.run("stop", "-t", "1", "box")
    world.check_whole()
    world.engine.run("start", "box")


def stop_engine(world):
    """Docker's stops its containers; Podman has no daemon that could be stopped."""
    if world.engine.name == "docker":
        world.engine.stop()
        world.check_whole()
        world.engine.start()
        world.engine.run("start", "box")


def kill_engine(world):
    """Docker: its daemon. Podman: the container and what watches it, so that nobody tells the plugin."""
    if world.engine.name == "docker":
        world.engine.kill()
        world.check_goes_on()
        world.engine.start()
        world.engine.run("start", "box")
        return
    pid = world.engine.pid("box")
    conmon = int(world.engine.run("inspect", "--format", "{{.State.ConmonPid}}", "box"))
    kill_and_wait(conmon)
    kill_and_wait(pid)
    world.engine.remove("box")
    world.check_whole()
    world.engine.begin("box", "db", WRITER)


def kill_everything(world):
    """The machine goes, and comes again: processes, mounts, and what lay in /run."""
    world.engine.lose_machine(["box"])
    world.plugin.kill()
    shutil.rmtree(world.plugin.folder / "ids", ignore_errors=True)
    world.pool.kill()
    world.pool.mount()
    world.check_whole()
    world.plugin.start()
    world.engine.start()
    world.engine.run("start", "box")


def kill_plugin_and_engine(world):
    """Of Podman it is the plugin, while a container ends: Podman waits for it, as the socket is there."""
    world.plugin.kill()
    if world.engine.name == "docker":
        world.engine.kill()
    else:
        kill_and_wait(world.engine.pid("box"))
    world.plugin.start()
    world.engine.start()
    wait_until(lambda: world.engine.name == "docker" or not world.engine.is_running("box"))
    world.engine.run("start", "box")


EVENTS = [kill_plugin, restart_daemon, kill_daemon, kill_container, stop_and_start, stop_engine, kill_engine,
          kill_plugin_and_engine, kill_everything]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_nothing_is_lost(world, event):
    engine = world.engine
    engine.create("db", "size=16M")
    engine.create("other", "size=1M")
    engine.begin("box", "db", WRITER)
    world.check_goes_on()
    event(world)
    world.check_goes_on()
    assert engine.volumes() == {"db", "other"}
    engine.remove("box")
    world.check_whole()
    world.check_limit()
    for name in ("db", "other"):
        engine.run("volume", "rm", name)
    assert engine.volumes() == set()


def test_a_pool_that_is_not_mounted(world):
    """No container starts, and nothing is written beneath, nor into a local volume of that name; when it is
    back all is as it was."""
    engine = world.engine
    engine.create("db", "size=16M")
    engine.script("db", "echo kept >/d/f")
    engine.create("new", "size=16M")  # and not mounted yet
    world.pool.umount()
    try:
        with pytest.raises(EngineError, match="no pool is mounted"):
            engine.script("db", "echo lost >/d/f")
        with pytest.raises(EngineError):
            engine.script("new", "echo lost >/d/f")
        with pytest.raises(EngineError):
            engine.create("x")
        assert os.listdir(world.pool.point) == []
    finally:
        world.pool.mount()
    assert engine.script("db", "cat /d/f") == "kept\n"
    assert engine.script("new", "ls /d; df -k /d").split()[-2] == "0%"
    assert engine.volumes() == {"db", "new"}


def test_a_plugin_that_comes_late(world):
    """Docker tries again, without a body: no volume of that name is made on another disk."""
    engine = world.engine
    if engine.name == "podman":
        pytest.skip("Podman does not try again")
    engine.create("db", "size=16M")
    engine.script("db", "echo kept >/d/f")
    plugin = world.plugin
    plugin.close()
    late = Plugin(plugin.bin_dir, plugin.pool_path, plugin.folder, plugin.path)
    starter = threading.Timer(2, late.start)
    starter.start()
    try:
        with contextlib.suppress(EngineError):
            engine.script("db", "echo lost >/d/f")
        starter.join()
        assert engine.volumes() == {"db"}
    finally:
        late.stop()
        plugin.listen()
        plugin.start()
    engine.script("db", "echo more >>/d/f")
    assert "more" in (world.pool.point / "volumes/db/f").read_text()
