# SPDX-License-Identifier: BSD-3-Clause
"""daxfuse volume: folders with a size of their own; the pool is all the state there is."""

import errno
import fcntl
import json
import os
import subprocess

import pytest

from support.pool import HANG, MIB
from support.process import eventually, fails, run_as, USER
from support.syscalls import FS_IMMUTABLE_FL, XFLAG_DAX, XFLAG_PROJINHERIT, get_xflags, set_flags, set_xflags

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs trusted xattrs")

FIRST_PROJECT = 2_000_000_000


class Volumes:
    """The command, on one pool."""

    def __init__(self, pool):
        self.pool = pool
        self.folder = pool.point / "volumes"

    def run(self, action, *words, code=0, options=()):
        words = [word for option in options for word in ("-o", option)] + [self.pool.point, *words]
        done = subprocess.run([self.pool.bin_dir / "daxfuse", "volume", action, *map(str, words)],
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=HANG)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    def create(self, name, *options, code=0):
        return self.run("create", name, options=options, code=code)

    def inspect(self, name):
        return json.loads(self.run("inspect", name))

    def names(self):
        return [volume["name"] for volume in json.loads(self.run("ls"))]

    def remove(self, name, code=0):
        """And wait until it is deleted."""
        words = ["--wait", self.pool.point, name]
        done = subprocess.run([self.pool.bin_dir / "daxfuse", "volume", "rm", *map(str, words)],
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=HANG)
        assert done.returncode == code, done.stderr
        return done.stderr

    def left(self):
        """What is not deleted yet, or was not made to the end."""
        return [path for name in (".removed", ".new") if (self.folder / name).exists()
                for path in (self.folder / name).iterdir()]


@pytest.fixture
def volumes(pool):
    volumes = Volumes(pool)
    yield volumes
    for name in volumes.names():
        volumes.remove(name)
    assert eventually(volumes.left, []) == []


def fill(path, limit=64 * MIB):
    done = 0
    with open(path, "wb", buffering=0) as file:
        try:
            while done < limit:
                done += file.write(b"x" * MIB)
        except OSError as error:
            assert error.errno == errno.EDQUOT
    return done


# ---- making them

def test_nothing_is_there_first(volumes):
    assert volumes.names() == []
    assert "no such volume" in volumes.run("inspect", "x", code=1)
    assert "no such volume" in volumes.remove("x", code=1)
    assert "no such volume" in volumes.run("resize", "x", options=["size=1M"], code=1)


def test_create(volumes):
    path = volumes.create("db", "size=8M", "inodes=20", "uid=12", "gid=34", "mode=2750", "label=of the shop").strip()
    assert path == str(volumes.folder / "db")
    shown = volumes.inspect("db")
    assert shown["mountpoint"] == path and shown["size"] == 8 * MIB and shown["inodes"] == 20
    assert shown["options"]["label"] == "of the shop" and shown["project"] >= FIRST_PROJECT
    stat = os.stat(path)
    assert (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777) == (12, 34, 0o2750)
    assert get_xflags(path).flags & XFLAG_PROJINHERIT
    size = os.statvfs(path)
    assert size.f_blocks * size.f_frsize == 8 * MIB and size.f_files == 20
    assert "db" in volumes.run("ls", "-u") and "8 MiB" in volumes.run("inspect", "db", "-u")


def test_the_size_is_a_limit(volumes):
    path = volumes.folder / "db"
    volumes.create("db", "size=8M")
    assert 5 * MIB <= fill(path / "f") <= 8 * MIB
    volumes.create("other")
    assert fill(volumes.folder / "other/f", 12 * MIB) == 12 * MIB
    volumes.run("resize", "db", options=["size=20M"])
    assert fill(path / "f") > 12 * MIB
    assert "are in use" in volumes.run("resize", "db", options=["size=4M"], code=1)
    assert volumes.inspect("db")["size"] == 20 * MIB
    assert volumes.inspect("db")["options"] == {"size": "20M"}
    volumes.run("resize", "db", options=["size=0", "inodes=2"])
    with fails("EDQUOT"):
        (path / "g").touch()
    assert "cannot be changed" in volumes.run("resize", "db", options=["uid=1"], code=1)


def test_options_of_files(volumes):
    volumes.create("fast", "dax=yes", "extsize=2M")
    path = volumes.folder / "fast"
    (path / "f").touch()
    assert get_xflags(path / "f").flags & XFLAG_DAX and get_xflags(path / "f").extsize == 2 * MIB


def test_again_with_the_same_options(volumes):
    volumes.create("db", "size=8M", "uid=5")
    (volumes.folder / "db/f").write_text("kept")
    volumes.create("db", "uid=5", "size=8M")
    assert (volumes.folder / "db/f").read_text() == "kept"
    for options in (["size=9M"], [], ["size=8M", "uid=5", "gid=1"]):
        assert "other options" in volumes.create("db", *options, code=1)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/a", ".hidden", "-x", "_x", "a b", "a\nb", "ä",
                                  "x" * 256, "a\x7f", ".new", ".removed"])
def test_names_are_checked(volumes, name):
    for action in ("create", "rm", "inspect", "resize"):
        assert "not a name" in volumes.run(action, "--", name, code=1) or name == "-x"
    assert volumes.names() == []


def test_odd_names_that_are_fine(volumes):
    names = ["0", "a" * 255, "A.b-c_d", "project_data", "a..b"]
    for name in names:
        volumes.create(name)
    assert volumes.names() == sorted(names)


@pytest.mark.parametrize("option", ["size=", "size=-1", "size=1X", "size=99999999999T", "inodes=x", "uid=-1", "uid=root",
                                    "uid=4294967295", "mode=8", "mode=77777", "dax=perhaps", "extsize=5",
                                    "extsize=8G", "colour=red", "=x", "label=" + "x" * 256])
def test_options_are_checked(volumes, option):
    assert volumes.create("x", option, code=1).count("\n") == 1
    assert volumes.names() == []


def test_more_than_the_pool_has(volumes):
    assert "more than the pool has" in volumes.create("x", "size=1T", code=1)
    volumes.create("a", "size=150M")
    assert "150 MiB" in volumes.create("x", "size=150M", code=1)
    volumes.create("b", "size=150M", "overcommit=yes")
    assert "more than" in volumes.run("resize", "a", options=["size=200M"], code=1)
    volumes.run("resize", "a", options=["size=200M", "overcommit=yes"])
    volumes.remove("a")
    volumes.remove("b")
    volumes.create("x", "size=150M")


def test_each_has_a_project_of_its_own(volumes):
    """Numbers are used again, soon after: the pool's table of them is never emptied."""
    for name in "abc":
        volumes.create(name)
    assert len({volumes.inspect(name)["project"] for name in "abc"}) == 3
    seen = set()
    for _ in range(40):
        volumes.create("d")
        seen.add(volumes.inspect("d")["project"])
        volumes.remove("d")
    assert min(seen) >= FIRST_PROJECT and len(seen) < 30


def test_a_folder_in_a_project(make_pool):
    """The pool is a folder that hands on a project: volumes have their own all the same."""
    pool = make_pool()
    set_xflags(pool.point, XFLAG_PROJINHERIT, project=7)
    volumes = Volumes(pool)
    volumes.create("a", "size=4M")
    assert get_xflags(pool.point / "volumes/a").project == FIRST_PROJECT
    (pool.point / "volumes/a/sub").mkdir()
    volumes.remove("a")
    assert volumes.left() == []


def test_what_we_have_not_made_is_no_volume(volumes):
    volumes.create("a")
    (volumes.folder / "by-hand").mkdir()
    (volumes.folder / "file").touch()
    (volumes.folder / "link").symlink_to("/tmp")
    try:
        assert volumes.names() == ["a"]
        for name in ("by-hand", "file", "link"):
            assert "no such volume" in volumes.remove(name, code=1)
            assert "no volume" in volumes.create(name, code=1)
    finally:
        (volumes.folder / "by-hand").rmdir()
        (volumes.folder / "file").unlink()
        (volumes.folder / "link").unlink()


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"x" * 8000, b'"x"'])
def test_records_from_elsewhere(volumes, record):
    """Of a pool that somebody else has written to nothing is believed."""
    volumes.create("a")
    os.setxattr(volumes.folder / "a", "trusted.daxfuse.volume", record)
    assert volumes.names() == []
    assert "no such volume" in volumes.run("inspect", "a", code=1)
    os.setxattr(volumes.folder / "a", "trusted.daxfuse.volume", b'{"options": 5, "created": [], "project": 1}')
    shown = volumes.inspect("a")
    assert shown["project"] >= FIRST_PROJECT and shown["options"] == 5
    volumes.run("resize", "a", options=["size=8M"])
    assert volumes.inspect("a")["options"] == {"size": "8M"}


def test_by_others_than_administrators(volumes, pool):
    os.chmod(pool.point, 0o755)
    volumes.create("a")

    def try_to(*words):
        done = subprocess.run([pool.bin_dir / "daxfuse", "volume", *map(str, words)], capture_output=True, text=True)
        return done.returncode, done.stderr

    for words in (("create", pool.point, "x"), ("rm", pool.point, "a"), ("resize", "-o", "size=0", pool.point, "a")):
        code, said = run_as(USER, try_to, *words)
        assert code == 1 and said
    assert volumes.names() == ["a"]


def test_without_a_pool(volumes, pool, tmp_path):
    """Every call says so, and nothing is written to what lies beneath."""
    volumes.create("a", "size=8M")
    pool.umount()
    try:
        for words in (("ls",), ("create", "b"), ("inspect", "a"), ("rm", "a"), ("resize", "a")):
            assert "no pool is mounted" in volumes.run(*words, code=1)
        assert os.listdir(pool.point) == []
    finally:
        pool.mount()
    assert volumes.inspect("a")["size"] == 8 * MIB  # nothing else was needed


# ---- removing them

def test_remove(volumes):
    volumes.create("a", "size=8M")
    for i in range(100):
        (volumes.folder / f"a/{i}").write_bytes(b"x" * 1000)
    volumes.remove("a")
    assert volumes.names() == [] and volumes.left() == []


def test_it_is_gone_at_once(volumes):
    """While somebody else holds the lock of what is deleted, and after."""
    volumes.create("a", "size=8M")
    project = volumes.inspect("a")["project"]
    (volumes.folder / "a/f").write_bytes(b"x" * MIB)
    fd = os.open(volumes.folder / ".removed", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    volumes.run("rm", "a")
    assert volumes.names() == [] and len(volumes.left()) == 1
    volumes.create("a", "size=8M")
    assert volumes.inspect("a")["project"] != project  # that is still counted
    assert list((volumes.folder / "a").iterdir()) == []
    os.close(fd)
    volumes.create("b")
    assert eventually(volumes.left, []) == []


def make_deep(path, levels):
    os.chdir(path)
    for _ in range(levels):
        os.mkdir("d")
        os.chdir("d")
    with open("f", "w") as file:
        file.write("x")


def test_trees_of_any_depth(volumes):
    volumes.create("deep")
    run_as(0, make_deep, volumes.folder / "deep", 3000)
    volumes.remove("deep")
    assert volumes.left() == []


def test_odd_trees(volumes, tmp_path):
    """Links lead nowhere, flags are no obstacle, names are only names."""
    volumes.create("odd")
    path = volumes.folder / "odd"
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (path / "link").symlink_to(outside)
    (path / "sub/deeper").mkdir(parents=True)
    (path / "sub/up").symlink_to("../..")
    os.mkfifo(path / "sub/fifo")
    for name in (b"a\nb", b"\xff\xfe", b"-rf", b" "):
        (path / os.fsdecode(name)).touch()
    os.link(path / "-rf", path / "sub/again")
    for entry in ("sub/deeper", "sub", " ", ""):
        set_flags(path / entry, FS_IMMUTABLE_FL)
    volumes.remove("odd")
    assert volumes.left() == [] and (outside / "precious").read_text() == "x"


def test_files_that_are_open(volumes):
    volumes.create("a", "size=8M")
    with open(volumes.folder / "a/f", "wb") as file:
        volumes.remove("a")
        file.write(b"x" * 4096)
        file.flush()
    assert volumes.names() == []


def test_in_use(volumes, tmp_path):
    """Mounted somewhere, in whatever namespace: not removed."""
    volumes.create("a")
    (volumes.folder / "a/sub").mkdir()
    volumes.create("ab")
    for place in ("a", "a/sub"):
        holder = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", f"mount --bind {volumes.folder}/{place} {tmp_path}; echo; cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        holder.stdout.readline()
        assert "is in use" in volumes.remove("a", code=1)
        holder.communicate()
    volumes.remove("ab")
    volumes.remove("a")


@pytest.mark.parametrize("blind", [
    "mount -t tmpfs none /proc; exec",
    "mount --bind /dev/null /proc/$$/mountinfo; exec",
    "mount -t tmpfs none /proc/$holder; mkdir -p /proc/$holder/ns/mnt /proc/$holder/mountinfo; exec"],
    ids=["proc", "own", "others"])
def test_in_use_cannot_be_told(volumes, tmp_path, blind):
    """/proc does not say what others have mounted: a volume that may be in use stays."""
    volumes.create("a")
    holder = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", f"mount --bind {volumes.folder}/a {tmp_path}; echo; cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
    done = subprocess.run(["unshare", "-m", "sh", "-c", f'holder={holder.pid}; {blind} "$@"', "sh", volumes.pool.bin_dir / "daxfuse",
                           "volume", "rm", volumes.pool.point, "a"], capture_output=True, text=True)
    assert done.returncode == 1 and "cannot be told" in done.stderr
    assert volumes.names() == ["a"]
    words = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace", volumes.pool.bin_dir / "daxfuse"]
    done = subprocess.run([*words, "volume", "rm", volumes.pool.point, "a"], capture_output=True, text=True)
    holder.communicate()
    assert done.returncode == 1 and "is in use" in done.stderr  # not allowed to trace the holder


# ---- crashes

KILLS = ["mkdirat:1", "ioctl:1", "ioctl:4", "fchown:1", "fsetxattr:1", "renameat2:1"]


@pytest.mark.parametrize("kill", KILLS)
def test_killed_while_it_makes_one(volumes, kill):
    volumes.create("first")
    call, count = kill.split(":")
    subprocess.run(["strace", "-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when={count}",
                    volumes.pool.bin_dir / "daxfuse", "volume", "create", "-o", "size=8M", volumes.pool.point, "a"],
                   capture_output=True)
    assert set(volumes.names()) <= {"first", "a"}
    volumes.create("a", "size=8M")
    assert volumes.inspect("a")["size"] == 8 * MIB
    volumes.create("b")
    assert eventually(volumes.left, []) == []
    assert len({volumes.inspect(name)["project"] for name in ("first", "a", "b")}) == 3


def test_killed_while_it_deletes(volumes):
    volumes.create("a")
    for i in range(20):
        (volumes.folder / f"a/d{i}/sub").mkdir(parents=True)
        (volumes.folder / f"a/d{i}/f").touch()
    for count in (3, 10, 30):
        volumes.create("b")
        (volumes.folder / "b/f").touch()
        subprocess.run(["strace", "-f", "-o", "/dev/null", "-e", f"inject=unlinkat:signal=KILL:when={count}",
                        volumes.pool.bin_dir / "daxfuse", "volume", "rm", "--wait", volumes.pool.point,
                        "a" if count == 3 else "b"], capture_output=True)
    assert "a" not in volumes.names()
    volumes.create("c")
    assert eventually(volumes.left, []) == []


def test_two_at_once(volumes):
    """Of many that make the same one, and many others, each gets what it asked for."""
    command = [volumes.pool.bin_dir / "daxfuse", "volume", "create"]
    running = [subprocess.Popen([*command, volumes.pool.point, f"v{i % 5}"], stdout=subprocess.DEVNULL)
               for i in range(20)]
    assert [process.wait() for process in running] == [0] * 20
    projects = {volumes.inspect(f"v{i}")["project"] for i in range(5)}
    assert len(projects) == 5
