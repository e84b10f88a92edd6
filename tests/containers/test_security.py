# SPDX-License-Identifier: BSD-3-Clause
"""
Who may do what (docs/design/security.md): each request, made from a container that has one folder of a
pool bound and nothing else, as its root without a user namespace, as root of a user namespace, as a
user, and by the host's administrator; and the same with the folder of the control socket bound, too.
"""

import errno
import fcntl
import json
import os
import re
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from support.container import CLONE_NEWUSER, DOCKERS, FIRST_ID, check, contained, libc, run_inside
from support.direct import Message, WELCOME, socket_of, HELLO, VERSION
from support.ioctls import CALLS, OK, answer, number
from support.pool import MIB, Pool
from support.process import USER, run_as
from support.syscalls import (FS_IOC_FSSETXATTR, FS_IOC_SETFLAGS, XFLAG_PROJINHERIT, get_xflags, set_xflags)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes containers")

PAGE = Path(__file__).parents[2] / "docs/design/security.md"
OWN, OTHER = 101, 102  # projects
CALLERS = {
    "root": dict(),
    "root of a user namespace": dict(user_namespace=True),
    "user": dict(user=USER),
    "user of a user namespace": dict(user_namespace=True, user=USER),
}
OWNERS = {"root": 0, "root of a user namespace": FIRST_ID, "user": USER,
          "user of a user namespace": FIRST_ID + USER}


def try_ioctl(path, request, argument, mode=os.O_RDONLY):
    fd = os.open(path, mode)
    try:
        fcntl.ioctl(fd, request, bytearray(argument))
    except OSError as error:
        return errno.errorcode[error.errno]
    finally:
        os.close(fd)
    return OK


def of_xattr(function, *args):
    try:
        function(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
    return OK


def try_xflags(path, flags, project):
    return try_ioctl(path, FS_IOC_FSSETXATTR, struct.pack("IIIII8x", flags, 0, 0, project, 0))


def ask_for_device(path):
    """What the control socket says, which DXF_IOC_DIRECT tells the path of."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        try:
            connection.connect(socket_of(path))
        except OSError as error:
            return errno.errorcode[error.errno]
        connection.send(bytes(Message(kind=HELLO, version=VERSION)))
        data, fds, _, _ = socket.recv_fds(connection, 248, 1)
    for fd in fds:
        os.close(fd)
    message = Message.from_buffer_copy(data)
    return OK if message.kind == WELCOME else errno.errorcode[message.error]


def quota(project):
    return struct.pack("Q32x", project)


GET, SET, NEXT = number(3, 3, 40), number(1, 4, 40), number(3, 5, 40)

# name -> what is tried on a folder that is the caller's own, with a file "f" of theirs in it
REQUESTS = {
    "QUOTA_GET, own project": lambda d: try_ioctl(d, GET, quota(OWN)),
    "QUOTA_GET, another": lambda d: try_ioctl(d, GET, quota(OTHER)),
    "QUOTA_NEXT": lambda d: try_ioctl(d, NEXT, quota(1)),
    "QUOTA_SET": lambda d: try_ioctl(d, SET, struct.pack("IIQQQQ", OWN, 0, 1 << 40, 0, 0, 0)),
    "REQUESTS": lambda d: answer(d, os.O_RDONLY, "DXF_IOC_REQUESTS"),
    "SET_LABEL": lambda d: answer(d, os.O_RDONLY, "DXF_IOC_SET_LABEL"),
    "REMOUNT": lambda d: answer(d, os.O_RDONLY, "DXF_IOC_REMOUNT"),
    "EXPORT": lambda d: answer(d, os.O_RDONLY, "DXF_IOC_EXPORT"),
    "RESTART": lambda d: answer(d, os.O_RDONLY, "DXF_IOC_RESTART"),
    "WATCH": lambda d: answer(f"{d}/f", os.O_RDWR, "DXF_IOC_WATCH"),
    "WATCH_READ": lambda d: answer(f"{d}/f", os.O_RDWR, "DXF_IOC_WATCH_READ"),
    "STATUS": lambda d: answer(d, os.O_RDONLY, "DXF_IOC_STATUS"),
    "MAPPED": lambda d: answer(f"{d}/f", os.O_RDONLY, "DXF_IOC_MAPPED"),
    "EXTENTS": lambda d: answer(f"{d}/f", os.O_RDONLY, "DXF_IOC_EXTENTS"),
    "RANGE, open for writing": lambda d: answer(f"{d}/f", os.O_RDWR, "DXF_IOC_RANGE"),
    "REALIGN, open for reading": lambda d: answer(f"{d}/f", os.O_RDONLY, "DXF_IOC_REALIGN"),
    "REALIGN, open for writing": lambda d: answer(f"{d}/f", os.O_RDWR, "DXF_IOC_REALIGN"),
    "PROMOTE": lambda d: answer(f"{d}/f", os.O_RDWR, "DXF_IOC_PROMOTE"),
    "PIN": lambda d: answer(f"{d}/f", os.O_RDWR, "DXF_IOC_PIN"),
    "UNPIN": lambda d: answer(f"{d}/f", os.O_RDWR, "DXF_IOC_UNPIN"),
    "MAP": lambda d: answer(f"{d}/f", os.O_RDWR, "DXF_IOC_MAP"),
    "UNMAP": lambda d: answer(f"{d}/f", os.O_RDWR, "DXF_IOC_UNMAP"),
    "DIRECT": lambda d: answer(d, os.O_RDONLY, "DXF_IOC_DIRECT"),
    "GETFLAGS, FSGETXATTR": lambda d: answer(d, os.O_RDONLY, "FSGETXATTR"),
    "project of a file": lambda d: try_xflags(f"{d}/f", 0, OTHER),
    "project of a folder": lambda d: try_xflags(d, XFLAG_PROJINHERIT, 0),
    "inheritance of a project": lambda d: try_xflags(d, 0, OWN),
    "inheritance, by SETFLAGS": lambda d: try_ioctl(d, FS_IOC_SETFLAGS, bytes(8)),
    "other flags": lambda d: try_xflags(f"{d}/f", 0x8000, OWN),  # DAX
    "trusted xattr, get": lambda d: of_xattr(os.getxattr, d, "trusted.mine"),
    "trusted xattr, set": lambda d: of_xattr(os.setxattr, d, "trusted.x", b"y"),
    "trusted xattr, remove": lambda d: of_xattr(os.removexattr, d, "trusted.mine"),
    "the device": ask_for_device,
}

# of root in a container | root of a user namespace | a user | a user of a namespace | the administrator
ROWS = """
QUOTA_GET, own project     | -        | -        | -        | -        | -
QUOTA_GET, another         | EPERM    | EPERM    | EPERM    | EPERM    | -
QUOTA_NEXT                 | EPERM    | EPERM    | EPERM    | EPERM    | -
QUOTA_SET                  | EPERM    | EPERM    | EPERM    | EPERM    | -
REQUESTS                   | EPERM    | EPERM    | EPERM    | EPERM    | -
SET_LABEL                  | EPERM    | EPERM    | EPERM    | EPERM    | -
REMOUNT                    | EPERM    | EPERM    | EPERM    | EPERM    | -
RESTART                    | EPERM    | EPERM    | EPERM    | EPERM    | -
EXPORT                     | EPERM    | EPERM    | EPERM    | EPERM    | ENOENT
WATCH                      | EPERM    | EPERM    | EPERM    | EPERM    | -
WATCH_READ                 | EPERM    | EPERM    | EPERM    | EPERM    | ENODEV
STATUS                     | -        | -        | -        | -        | -
MAPPED                     | -        | -        | -        | -        | -
EXTENTS                    | -        | -        | -        | -        | -
RANGE, open for writing    | EINVAL   | EINVAL   | EINVAL   | EINVAL   | EINVAL
REALIGN, open for reading  | EBADF    | EBADF    | EBADF    | EBADF    | -
REALIGN, open for writing  | -        | -        | -        | -        | -
PROMOTE                    | -        | -        | -        | -        | -
PIN                        | EACCES   | EACCES   | EACCES   | EACCES   | -
UNPIN                      | EINVAL   | EINVAL   | EINVAL   | EINVAL   | EINVAL
MAP                        | ENOTCONN | ENOTCONN | ENOTCONN | ENOTCONN | ENOTCONN
UNMAP                      | -        | -        | -        | -        | -
DIRECT                     | -        | -        | -        | -        | -
GETFLAGS, FSGETXATTR       | -        | -        | -        | -        | -
project of a file          | EPERM    | EINVAL   | EPERM    | EINVAL   | -
project of a folder        | EPERM    | EINVAL   | EPERM    | EINVAL   | -
inheritance of a project   | EPERM    | EINVAL   | EPERM    | EINVAL   | -
inheritance, by SETFLAGS   | EPERM    | EINVAL   | EPERM    | EINVAL   | -
other flags                | -        | -        | -        | -        | -
trusted xattr, set         | EPERM    | EPERM    | EPERM    | EPERM    | -
trusted xattr, remove      | EPERM    | EPERM    | EPERM    | EPERM    | -
trusted xattr, get         | ENODATA  | ENODATA  | ENODATA  | ENODATA  | -
the device                 | ENOENT   | ENOENT   | ENOENT   | ENOENT   | -
"""
# The same with the folder of the control socket bound: to give that away is to give the pool away.
WITH_SOCKET = {"the device": ["-", "EACCES", "EACCES", "EACCES", "-"]}
EXPECTED = {row.split("|")[0].strip(): [word.strip() for word in row.split("|")[1:]]
            for row in ROWS.strip().splitlines()}


def all_requests(folder):
    return {name: call(folder) for name, call in REQUESTS.items()}


def make_folder(pool, owner):
    """A folder of that user with a file, in a project of its own, limited to 8 MiB."""
    folder = pool.point / "tenant"
    folder.mkdir()
    (folder / "f").write_bytes(bytes(20_000))
    os.setxattr(folder, "trusted.mine", b"not theirs")
    os.chmod(folder / "f", 0o644)
    for path in (folder, folder / "f"):
        pool.run("daxfuse", "quota", pool.point, OWN, "--bytes", "8M")
        set_xflags(path, XFLAG_PROJINHERIT if path.is_dir() else 0, project=OWN)
        os.chown(path, owner, owner)
    return folder


@pytest.fixture
def pools(make_pool):
    """make(owner) -> a pool with the folder of a tenant, and another project."""

    def make(owner, *options):
        pool = make_pool(*options)
        os.chmod(pool.point, 0o755)
        pool.run("daxfuse", "quota", pool.point, OTHER, "--bytes", "9M")
        return pool, make_folder(pool, owner)

    return make


def test_all_requests_are_here():
    """An ioctl that is added has a row, also in the page."""
    text = PAGE.read_text()
    rows = " ".join(EXPECTED)
    for name in CALLS:
        short = name.removeprefix("DXF_IOC_")
        if short not in ("SETFLAGS", "FSSETXATTR"):
            assert re.search(rf"\b{short}\b", rows), short
        assert re.search(rf"\b{short}\b", text), short
    assert set(EXPECTED) == set(REQUESTS)


@pytest.mark.parametrize("bound", [False, True], ids=["", "with the socket"])
@pytest.mark.parametrize("caller", CALLERS)
def test_from_a_container(pools, caller, bound):
    pool, folder = pools(OWNERS[caller])
    binds = {"/d": folder}
    if bound:
        place = Path(socket_of(folder)).parent
        binds[place] = place
    column = list(CALLERS).index(caller)
    expected = {name: (WITH_SOCKET.get(name, words) if bound else words)[column]
                for name, words in EXPECTED.items()}
    assert contained(all_requests, "/d", binds=binds, **CALLERS[caller]) == expected
    unchanged(pool, folder)


def unchanged(pool, folder):
    assert json.loads(pool.run("daxfuse", "quota", pool.point, OWN))["byte_limit"] == 8 * MIB
    assert get_xflags(folder).project == OWN and get_xflags(folder).flags & XFLAG_PROJINHERIT
    assert get_xflags(folder / "f").project == OWN
    assert os.getxattr(folder, "trusted.mine") == b"not theirs"
    assert json.loads(pool.run("daxfuse", "status", pool.point))["mount"]["starts"] == 1


def test_by_the_administrator(pools):
    _, folder = pools(USER)
    expected = {name: words[-1] for name, words in EXPECTED.items()}
    assert all_requests(folder) == expected


def test_by_a_user_of_the_host(pools):
    """Who owns a folder, without any container."""
    pool, folder = pools(USER)
    expected = {name: words[2] for name, words in EXPECTED.items()} | {"the device": "EACCES"}
    assert run_as(USER, all_requests, folder) == expected
    unchanged(pool, folder)


def test_with_the_capability_in_a_container(pools):
    """--cap-add SYS_ADMIN makes an administrator of a container's root, as it does for mount(2)."""
    _, folder = pools(0)
    expected = {name: words[-1] for name, words in EXPECTED.items()} | {"the device": "ENOENT"}
    found = contained(all_requests, "/d", binds={"/d": folder}, capabilities=DOCKERS | 1 << 21)
    assert found == expected


def test_without_any_capability(pools):
    _, folder = pools(0)
    found = contained(all_requests, "/d", binds={"/d": folder}, capabilities=0)
    assert found == {name: words[0] for name, words in EXPECTED.items()}


def list_xattrs(path):
    return os.listxattr(path)


def test_names_of_trusted_attributes_are_not_told(pools):
    _, folder = pools(0)
    os.setxattr(folder, "user.seen", b"y")
    assert contained(list_xattrs, "/d", binds={"/d": folder}) == ["user.seen"]
    assert set(os.listxattr(folder)) == {"user.seen", "trusted.mine"}


def fill(path, size):
    with open(path, "wb", buffering=0) as file:
        for _ in range(size // MIB):
            file.write(b"x" * MIB)


def test_root_in_a_container_stays_within_its_quota(pools, bin_dir):
    """What it could do before: each way past the limit ends at the limit."""
    pool, folder = pools(0)
    binds = {"/d": folder, "/bin-of-daxfuse": bin_dir}
    for words in (("quota", "/d", OWN, "--bytes", "1G"), ("quota", "/d", 0, "--assign"),
                  ("quota", "/d", OTHER, "--assign"), ("label", "/d", "evil"), ("restart", "/d"),
                  ("watch", "--once", "/d")):
        status, out, _ = contained(run_inside, "/bin-of-daxfuse/daxfuse", *words, binds=binds)
        assert status == 1 and out == "", words
    with pytest.raises(OSError) as caught:
        contained(fill, "/d/large", 40 * MIB, binds=binds)
    assert caught.value.errno == errno.EDQUOT
    assert (folder / "large").stat().st_size <= 8 * MIB
    unchanged(pool, folder)


def test_a_container_is_told_its_own_quota(pools, bin_dir):
    _, folder = pools(0)
    binds = {"/d": folder, "/bin-of-daxfuse": bin_dir}
    status, out, _ = contained(run_inside, "/bin-of-daxfuse/daxfuse", "quota", "/d", binds=binds)
    assert status == 0 and [entry["project"] for entry in json.loads(out)] == [OWN]


@pytest.mark.parametrize("words", [("status", "/d"), ("status", "-u", "/d")], ids=["json", "human"])
def test_the_status_has_nothing_of_the_host_in_it(pools, bin_dir, words):
    pool, folder = pools(0)
    pool.run("daxfuse", "label", pool.point, "secret-label")
    status, out, _ = contained(run_inside, "/bin-of-daxfuse/daxfuse", *words,
                               binds={"/d": folder, "/bin-of-daxfuse": bin_dir})
    assert status == 0 and "free" in out
    for secret in (str(pool.folder), str(pool.image), "secret-label", str(pool.serving())):
        assert secret not in out, secret
    assert str(pool.image) in pool.run("daxfuse", "status", pool.point)


def test_owners_set_projects_if_the_mount_says_so(pools):
    """As on ext4 and xfs: who owns a file decides which project it is of."""
    _, folder = pools(USER, "project=owner")
    assert run_as(USER, try_xflags, folder / "f", 0, OTHER) == OK
    assert get_xflags(folder / "f").project == OTHER
    assert run_as(USER - 1, try_xflags, folder / "f", 0, OWN) == "EPERM"
    assert run_as(USER, try_ioctl, folder, SET, struct.pack("IIQQQQ", OWN, 0, 1 << 40, 0, 0, 0)) == "EPERM"
    assert contained(try_xflags, "/d/f", 0, OWN, binds={"/d": folder}) == OK


def test_a_users_own_mount(bin_dir, huge_dir):
    """That user is its administrator; not as root of a container that is made without root."""
    pool = Pool(bin_dir, huge_dir / "of-a-user")
    for path in (pool.folder, pool.point, pool.image, pool.log):
        os.chown(path, USER, USER)
    subprocess.run([bin_dir / "mkfs.daxfuse", "-q", "-f", pool.image], check=True, user=USER, group=USER)
    pool.mount(user=USER)
    try:
        def as_user():
            os.mkdir(pool.point / "d")
            own = try_ioctl(pool.point / "d", SET, quota(7))
            container = as_root_of_own_namespace(pool.point / "d")
            return own, container

        assert run_as(USER, as_user) == (OK, "EPERM")
    finally:
        pool.close()
        pool.abandon()


def as_root_of_own_namespace(path):
    """As rootless engines begin: root inside is the same user outside."""
    uid = os.geteuid()
    fd = os.open(path, os.O_RDONLY)
    check(libc.unshare(CLONE_NEWUSER), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    try:
        fcntl.ioctl(fd, SET, bytearray(quota(7)))
    except OSError as error:
        return errno.errorcode[error.errno]
    return OK
