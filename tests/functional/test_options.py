# SPDX-License-Identifier: BSD-3-Clause
"""Mount options, as mount(8) hands them on and as fstab has them; remounting; second mount points."""

import json
import os
import subprocess
from collections import namedtuple

import pytest

from support import syscalls
from support.pool import is_mounted
from support.process import USER, eventually, fails

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

# Those of mount(8), "FILESYSTEM-INDEPENDENT MOUNT OPTIONS"; what it never hands on is taken, too.
GENERIC = """
    async sync dirsync atime noatime diratime nodiratime relatime norelatime strictatime nostrictatime
    lazytime nolazytime mand nomand iversion noiversion silent loud suid nosuid dev nodev exec noexec
    symfollow nosymfollow auto noauto defaults owner noowner group nogroup user nouser users nousers
    user=nobody _netdev nofail comment=nothing x-systemd.automount x-gvfs-name=a X-mount.mkdir
    X-mount.mkdir=0755 rw ro uhelper=udisks2 helper=none
""".split() + ['comment="one, two"', 'x-initrd.mount', 'context="system_u:object_r:tmp_t:s0:c1,c2"',
               "fscontext=system_u:object_r:tmp_t:s0"]

Mount = namedtuple("Mount", "point options super_options source device")


def mounts_of(pool, pid="self"):
    """As a process sees them."""
    with open(f"/proc/{pid}/mountinfo") as table:
        words = [line.split() for line in table]
    return [Mount(line[4], set(line[5].split(",")), set(line[-1].split(",")), line[-2], line[2])
            for line in words if line[-2] == str(pool.image)]


def options_of(pool):
    (found,) = mounts_of(pool)
    return found.options


def status(pool, point=None):
    return json.loads(pool.run("daxfuse", "status", point or pool.point))


@pytest.mark.parametrize("option", GENERIC)
def test_generic(make_pool, option):
    pool = make_pool()
    pool.run("daxfuse", pool.image, pool.point, "-o", option)
    try:
        if option != "ro":
            (pool.point / "f").write_text("x")
        assert os.listdir(pool.point) == ([] if option == "ro" else ["f"])
    finally:
        pool.run("daxfuse", "umount", "--wait", pool.point)


FLAGS = {"nosuid", "nodev", "noexec", "nosymfollow", "noatime", "nodiratime", "relatime", "ro", "rw"}


@pytest.mark.parametrize("given, wanted", [
    ("defaults", "rw relatime"),
    ("nosuid,nodev,noexec,nosymfollow", "rw relatime nosuid nodev noexec nosymfollow"),
    ("nosuid,suid,nodev,dev,noexec,exec,nosymfollow,symfollow", "rw relatime"),
    ("user", "rw relatime nosuid nodev noexec"),
    ("users,exec", "rw relatime nosuid nodev"),
    ("owner,dev", "rw relatime nosuid"),
    ("group", "rw relatime nosuid nodev"),
    ("ro,noatime", "ro noatime"),
    ("noatime,atime,nodiratime", "rw relatime nodiratime"),
    ("strictatime", "rw"),
])
def test_obeyed(make_pool, given, wanted):
    pool = make_pool()
    pool.mount(given)
    assert options_of(pool) & FLAGS == set(wanted.split())


@pytest.mark.parametrize("option", ["nonsense", "nosuid,nonsense", "dax=maybe", "c1", "ro=1", "nofail=1",
                                    "context", 'context="open', "user_id=0"])
def test_not_taken(make_pool, option):
    """What nobody knows; and what only the kernel says, where it is not said with "remount"."""
    pool = make_pool()
    done = subprocess.run([pool.bin_dir / "daxfuse", pool.image, pool.point, "-o", option],
                          capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("daxfuse: ")
    assert not is_mounted(pool.point)


# ---- mount(8)

class Shell:
    """A mount namespace in which mount(8) finds our helpers; commands are run there one by one."""

    def __init__(self, pool):
        self.pool = pool
        self.process = subprocess.Popen(["unshare", "--mount", "cat"], stdin=subprocess.PIPE)
        assert eventually(lambda: os.readlink(f"/proc/{self.process.pid}/ns/mnt") !=
                          os.readlink("/proc/self/ns/mnt"), True)
        self.run("mount -t tmpfs helpers /usr/sbin")
        for name in ("mount.daxfuse", "mount.fuse.daxfuse"):
            self.run(f"ln -s {pool.bin_dir}/daxfuse /usr/sbin/{name}")

    def run(self, command, code=0):
        done = subprocess.run(["nsenter", f"--mount=/proc/{self.process.pid}/ns/mnt", "sh", "-c", command],
                              capture_output=True, text=True, timeout=60)
        assert code is None or done.returncode == code, (command, done)
        return done.stdout + "".join(line for line in done.stderr.splitlines(True)
                                     if not line.endswith("are mapped through kernel views\n"))

    def mounts(self):
        return mounts_of(self.pool, self.process.pid)

    def close(self):
        for mount in self.mounts():
            self.run(f"umount {mount.point}", code=None)
        # the namespace keeps what is mounted in it
        self.process.stdin.close()
        self.process.wait(60)


@pytest.fixture
def pool(make_pool):
    return make_pool()


@pytest.fixture
def shell(pool):
    shell = Shell(pool)
    yield shell
    shell.close()
    # The daemon is nobody's child, and holds the device until it has ended.
    pool.run("fsck.daxfuse", "-n", pool.image, code=None)
    assert eventually(lambda: subprocess.run(["flock", "-n", pool.image, "true"]).returncode, 0) == 0


@pytest.mark.parametrize("kind", ["daxfuse", "fuse.daxfuse"])
def test_mount_and_umount(pool, shell, kind):
    shell.run(f"mount -t {kind} {pool.image} {pool.point} -o noatime,nodiratime,nosuid,x-a=b,nofail,_netdev")
    (found,) = shell.mounts()
    assert {"noatime", "nodiratime", "nosuid", "rw"} <= found.options
    shell.run(f"echo kept >{pool.point}/f")
    shell.run(f"umount {pool.point}")
    assert shell.mounts() == []


def test_read_only_by_a_letter(pool, shell):
    shell.run(f"mount -r -t daxfuse {pool.image} {pool.point}")
    assert "ro" in shell.mounts()[0].options
    assert "Read-only" in shell.run(f"touch {pool.point}/f", code=1)


def test_fstab(pool, shell):
    """All lines of it are fine; those whose devices are not there may be."""
    fstab = pool.folder / "fstab"
    fstab.write_text(f"{pool.image} {pool.point} daxfuse defaults,nofail,nodiratime,comment=a,x-b 0 0\n"
                     f"/dev/dax99.0 {pool.folder} daxfuse nofail 0 0\n"
                     f"{pool.folder}/absent {pool.folder} daxfuse nofail,nosuid 0 0\n")
    for _ in range(2):
        assert shell.run(f"mount -T {fstab} -a") == ""
        assert [mount.point for mount in shell.mounts()] == [str(pool.point)]
    fstab.write_text(f"{pool.folder}/absent {pool.folder} daxfuse defaults 0 0\n")
    assert "absent" in shell.run(f"mount -T {fstab} -a", code=32)


def test_absent_device_without_mount(pool):
    for words, code in (["-o", "nofail"], 0), ([], 32):
        done = subprocess.run([pool.bin_dir / "daxfuse", pool.folder / "absent", pool.point, *words],
                              capture_output=True, text=True)
        assert done.returncode == code and bool(done.stderr) == bool(code)


# ---- remount

WAYS = {
    "mount(8)": "mount -o remount,{} {point}",
    "mount(8), all named": "mount -t fuse.daxfuse -o remount,{} {image} {point}",
    "helper": "mount.daxfuse {image} {point} -o remount,{}",
    "daxfuse": "{bin}/daxfuse {image} {point} -o remount,{}",
}


@pytest.mark.image
@pytest.mark.parametrize("keeper", ["supervisor", "none"])
@pytest.mark.parametrize("way", WAYS)
def test_remount(pool, shell, way, keeper):
    def remount(how, code=0):
        return shell.run(WAYS[way].format(how, point=pool.point, image=pool.image, bin=pool.bin_dir), code)

    def is_read_only():
        (found,) = shell.mounts()
        said = json.loads(shell.run(f"{pool.bin_dir}/daxfuse status {pool.point}"))["mount"]["read_only"]
        assert ("ro" in found.options) == ("ro" in found.super_options) == said
        return said

    shell.run(f"mount -t daxfuse -o nosuid,noatime,keeper={keeper} {pool.image} {pool.point}")
    shell.run(f"echo first >{pool.point}/f")
    for number in range(3):
        remount("ro")
        assert is_read_only()
        with open(pool.image, "rb") as image:
            before = image.read()
        assert "Read-only" in shell.run(f"echo second >{pool.point}/f", code=2)
        assert shell.run(f"cat {pool.point}/f; ls -l {pool.point} >/dev/null") == "first\n"
        with open(pool.image, "rb") as image:
            assert image.read() == before
        remount("rw")
        assert not is_read_only()
        shell.run(f"echo again >{pool.point}/g{number}; test -s {pool.point}/g{number}")
        assert {"nosuid", "noatime"} <= shell.mounts()[0].options


@pytest.mark.parametrize("way", WAYS)
def test_remount_busy(pool, shell, way):
    """A file that is open for writing keeps it writable, one that is open for reading does not."""
    shell.run(f"mount -t daxfuse {pool.image} {pool.point}")
    command = WAYS[way].format("ro", point=pool.point, image=pool.image, bin=pool.bin_dir)
    out = shell.run(f"exec 3>{pool.point}/f; {command}; echo code $?; echo written >&3")
    assert "busy" in out and "code 32" in out
    assert not json.loads(shell.run(f"{pool.bin_dir}/daxfuse status {pool.point}"))["mount"]["read_only"]
    shell.run(f"exec 3<{pool.point}/f; {command} && test $(cat <&3) = written")


def test_remount_of_what_was_mounted_read_only(pool, shell):
    """The device is opened for writing then, and what a crash has left is made good."""
    shell.run(f"mount -t daxfuse {pool.image} {pool.point}; echo kept >{pool.point}/f; umount {pool.point}")
    shell.run(f"mount -t daxfuse -o ro {pool.image} {pool.point}")
    shell.run(f"mount -o remount,rw {pool.point}; echo new >{pool.point}/g; cat {pool.point}/f")
    pid = json.loads(shell.run(f"{pool.bin_dir}/daxfuse status {pool.point}"))["mount"]["pid"]
    os.kill(pid, 9)
    shell.run(f"echo more >{pool.point}/h")
    shell.run(f"mount -o remount,ro {pool.point}")
    pid = json.loads(shell.run(f"{pool.bin_dir}/daxfuse status {pool.point}"))["mount"]["pid"]
    os.kill(pid, 9)
    assert "Read-only" in shell.run(f"echo more >{pool.point}/i", code=2)
    assert shell.run(f"cat {pool.point}/[fgh]") == "kept\nnew\nmore\n"


def test_remount_without_a_keeper_cannot_write_what_it_has_for_reading(pool, shell):
    shell.run(f"mount -t daxfuse -o ro,keeper=none {pool.image} {pool.point}")
    out = shell.run(f"mount -o remount,rw {pool.point}", code=32)
    assert "unmount it" in out
    assert "ro" in shell.mounts()[0].options


def test_remount_of_other_things(pool, shell):
    """What belongs to one mount point changes at once, what the daemon does as well; what can't
    be changed is said, and nothing is then."""
    shell.run(f"mount -t daxfuse {pool.image} {pool.point}")
    shell.run(f"mount -o remount,nosuid,noexec,nodev {pool.point}")
    assert {"nosuid", "noexec", "nodev", "rw"} <= shell.mounts()[0].options
    shell.run(f"mount -o remount,suid,exec,noatime {pool.point}")
    assert shell.mounts()[0].options & FLAGS == {"rw", "nodev", "noatime"}
    assert json.loads(shell.run(f"{pool.bin_dir}/daxfuse status {pool.point}"))["mount"]["atime"] == "noatime"
    out = shell.run(f"mount -o remount,dax=always,ro {pool.point}", code=32)
    assert "dax=" in out and "remount" in out
    assert "rw" in shell.mounts()[0].options


def test_remount_of_nothing(pool, shell):
    for command in (f"mount.daxfuse {pool.image} {pool.point} -o remount,ro",
                    f"{pool.bin_dir}/daxfuse {pool.image} {pool.point} -o remount"):
        assert "not mounted" in shell.run(command, code=32)


# ---- a second mount point

@pytest.fixture
def other(pool):
    path = pool.folder / "other"
    path.mkdir()
    yield path
    while is_mounted(path):
        subprocess.run(["umount", "-l", path], check=True)


def mount_again(pool, place, *words):
    return subprocess.run([pool.bin_dir / "daxfuse", pool.image, place, *words], capture_output=True,
                          text=True, timeout=60)


@pytest.mark.parametrize("options", [[], ["dax=always", "noatime", "nosuid"], ["ro"]])
def test_second_mount_point(pool, other, options):
    mnt = pool.mount(*options)
    done = mount_again(pool, other, *(word for option in options for word in ("-o", option)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len({mount.device for mount in mounts_of(pool)}) == 1
    if "ro" not in options:
        (mnt / "f").write_text("one")
        assert (other / "f").read_text() == "one"
        (other / "f").write_text("two")
        assert (mnt / "f").read_text() == "two"
        os.link(other / "f", other / "g")
    assert status(pool, other)["mount"]["pid"] == status(pool)["mount"]["pid"]


def test_each_mount_point_has_its_flags(pool, other):
    pool.mount("nosuid", "noexec")
    assert mount_again(pool, other, "-o", "nodev").returncode == 0
    first, second = (mount.options & FLAGS for mount in mounts_of(pool))
    assert first == {"rw", "relatime", "nosuid", "noexec"} and second == {"rw", "relatime", "nodev"}


@pytest.mark.parametrize("first, second, words", [
    ([], ["dax=always"], ["dax=auto", "dax=always"]), ([], ["ro"], ["rw", "ro"]),
    (["ro"], [], ["ro", "rw"]), ([], ["noatime"], ["relatime", "noatime"]),
    (["direct=all"], [], ["direct=all", "direct=owner"]), ([], ["max_threads=3"], ["max_threads=3"]),
    ([], ["project=owner"], ["project=admin", "project=owner"])])
def test_other_options_are_refused(pool, other, first, second, words):
    pool.mount(*first)
    done = mount_again(pool, other, *(word for option in second for word in ("-o", option)))
    assert done.returncode == 32 and not is_mounted(other)
    assert str(pool.point) in done.stderr and all(word in done.stderr for word in words), done.stderr
    assert "remount" in done.stderr or "unmount" in done.stderr


def test_options_of_the_daemon_need_not_be_said_again(pool, other):
    pool.mount("max_threads=3")
    assert mount_again(pool, other).returncode == 0


def test_same_place_twice(pool, other):
    pool.mount()
    done = mount_again(pool, pool.point)
    assert done.returncode == 32 and f"mounted on {pool.point} already" in done.stderr
    assert len(mounts_of(pool)) == 1


@pytest.mark.image
def test_another_image_of_the_same_name(pool, other):
    """What is mounted is not what lies there now."""
    mnt = pool.mount()
    (mnt / "f").touch()
    os.rename(pool.image, pool.folder / "old")
    with open(pool.image, "wb") as image:
        image.truncate(64 << 20)
    pool.run("mkfs.daxfuse", "-q", pool.image)
    assert mount_again(pool, other).returncode == 0
    assert os.listdir(mnt) == ["f"] and os.listdir(other) == []
    pool.run("daxfuse", "umount", other)
    os.rename(pool.folder / "old", pool.image)


@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
def test_unmounting_one_leaves_the_other(pool, other, first):
    """And all that the daemon does with its mount it goes on doing; it ends with the last one."""
    mnt = pool.mount()
    assert mount_again(pool, other).returncode == 0
    gone, left = (mnt, other) if first else (other, mnt)
    pool.run("daxfuse", "umount", "--wait", gone)
    assert not is_mounted(gone) and pool.is_alive()
    path = left / "f"
    path.write_bytes(b"x" * 20_000)
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    syscalls.change_range(fd, syscalls.FALLOC_COLLAPSE_RANGE, 0, 4096)
    os.write(fd, b"end")
    os.close(fd)
    assert path.stat().st_size == 20_000 - 4096 + 3
    before = status(pool, left)
    assert before["mountpoint"] == str(left)
    os.kill(before["mount"]["pid"], 9)
    assert path.stat().st_size == 20_000 - 4096 + 3
    pool.run("daxfuse", "restart", left)
    pool.run("daxfuse", "umount", "--wait", left)
    assert pool.daemon.wait(60) == 0
    pool.daemon = None
    pool.log.write_text("")  # that it was killed


@pytest.mark.parametrize("moved", [True, False], ids=["second only", "both"])
def test_a_signal_unmounts_all(pool, other, moved):
    mnt = pool.mount()
    assert mount_again(pool, other).returncode == 0
    (other / "f").write_text("kept")
    if moved:
        subprocess.run(["umount", mnt], check=True)
    pool.daemon.terminate()
    assert pool.daemon.wait(60) == 0
    pool.daemon = None
    assert mounts_of(pool) == []


def test_remount_is_of_all(pool, other):
    """Read-only is the filesystem, of which both show the same."""
    mnt = pool.mount()
    assert mount_again(pool, other).returncode == 0
    for command in ("remount,ro", "remount,rw"):
        pool.run("daxfuse", pool.image, other, "-o", command)
        if command == "remount,ro":
            with fails("EROFS"):
                (mnt / "f").touch()
        else:
            (mnt / "f").touch()


@pytest.fixture(params=[USER])
def silent_mount(request, pool, shell):
    """A folder where a user has put a mount that looks like one of the pool; nobody answers there."""
    place = pool.folder / "silent"
    place.mkdir()
    fuse = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fuse},rootmode=40000,user_id={request.param},group_id=0,allow_other"
    os.set_inheritable(fuse, True)
    subprocess.run(["nsenter", f"--mount=/proc/{shell.process.pid}/ns/mnt", "mount", "-i", "-t",
                    "fuse.daxfuse", "-o", options, pool.image, place], check=True, close_fds=False)
    yield place
    os.close(fuse)
    shell.run(f"umount -l {place}")


def test_a_users_mount_is_not_the_pools(pool, shell, silent_mount):
    """Users choose the type and the source of their mounts: root must not copy them, and lose
    nosuid on the way, nor ask whoever serves them."""
    daxfuse = f"{pool.bin_dir}/daxfuse"
    shell.run(f"{daxfuse} {pool.image} {pool.point}")
    own, = (mount for mount in shell.mounts() if mount.point == str(pool.point))
    assert "user_id=0" in own.super_options
    assert "not mounted" in shell.run(f"{daxfuse} {pool.image} {silent_mount} -o remount,ro", code=32)
    shell.run(f"{daxfuse} umount --wait {pool.point}")


@pytest.mark.parametrize("silent_mount", [0], indirect=True)
def test_a_daemon_that_hangs_is_not_waited_for(pool, shell, silent_mount):
    """One of root's own is asked, for some seconds."""
    shell.run(f"{pool.bin_dir}/daxfuse {pool.image} {pool.point}")
    assert any(mount.point == str(pool.point) for mount in shell.mounts())
    shell.run(f"{pool.bin_dir}/daxfuse umount --wait {pool.point}")


def test_by_mount(pool, shell):
    """Two lines of fstab, and all of them again."""
    place = pool.folder / "other"
    place.mkdir()
    fstab = pool.folder / "fstab"
    fstab.write_text(f"{pool.image} {pool.point} daxfuse defaults 0 0\n"
                     f"{pool.image} {place} daxfuse defaults 0 0\n")
    for _ in range(2):
        assert shell.run(f"mount -T {fstab} -a") == ""
        assert [mount.point for mount in shell.mounts()] == [str(pool.point), str(place)]
    shell.run(f"umount {pool.point}")
    shell.run(f"touch {place}/f")
    shell.run(f"mount -T {fstab} -a && test -e {pool.point}/f")
