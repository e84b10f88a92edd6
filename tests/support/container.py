# SPDX-License-Identifier: BSD-3-Clause
"""
A process in a container as engines make them, without an engine: namespaces of its own for mounts and
processes, a root of its own with the host's /usr in it, and the capabilities that Docker leaves.
"""

import ctypes
import os
import pickle
import struct
import subprocess
import tempfile
import traceback
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_CAPBSET_DROP, PR_SET_DUMPABLE, PR_SET_PDEATHSIG = 24, 4, 1
PIVOT_ROOT = 155
# CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD
# AUDIT_WRITE SETFCAP
DOCKERS = sum(1 << bit for bit in (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31))
FIRST_ID = 100_000  # what 0 in the user namespace is outside


def check(result, what):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def mount(source, target, kind=None, flags=0, data=None):
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind, data)]
    check(libc.mount(*words[:3], ctypes.c_ulong(flags), words[3]), f"mount {target}")


def bind(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    if Path(source).is_dir():
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    mount(source, target, flags=MS_BIND | MS_REC)


def enter_root(binds):
    """A root with these paths of the host: {inside: outside}."""
    mount(None, "/", flags=MS_REC | MS_PRIVATE)
    root = Path(tempfile.mkdtemp(prefix="daxfuse-root-", dir="/tmp"))
    mount("root", root, "tmpfs", data="mode=755")
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    for name in ("tmp", "proc", "old"):
        (root / name).mkdir()
    for inside, outside in {"/usr": "/usr", "/dev/null": "/dev/null", **binds}.items():
        bind(outside, root / str(inside).lstrip("/"))
    os.chdir(root)
    check(libc.syscall(PIVOT_ROOT, b".", b"old"), "pivot_root")
    os.chdir("/")
    check(libc.umount2(b"/old", MNT_DETACH), "umount")


def drop_capabilities(kept=DOCKERS):
    for bit in range(64):
        if not kept >> bit & 1:
            libc.prctl(PR_CAPBSET_DROP, bit)
    words = (kept & 0xffffffff, kept >> 32)
    data = struct.pack("6I", words[0], words[0], 0, words[1], words[1], 0)
    check(libc.capset(struct.pack("II", 0x20080522, 0), data), "capset")


def enter_user_namespace():
    """The way of the engines: another process, outside, writes which users there are."""
    ready, go = os.pipe(), os.pipe()
    own = os.getpid()
    helper = os.fork()
    if helper == 0:
        try:
            os.read(ready[0], 1)
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{own}/{name}").write_text(f"0 {FIRST_ID} 65536")
            os.write(go[1], b"x")
        finally:
            os._exit(0)
    check(libc.unshare(CLONE_NEWUSER), "unshare")
    os.write(ready[1], b"x")
    assert os.read(go[0], 1)
    os.waitpid(helper, 0)
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def live_inside(user_namespace, user, capabilities, function, args):
    libc.prctl(PR_SET_PDEATHSIG, 9)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if user_namespace:
        enter_user_namespace()
    if not user_namespace or capabilities != DOCKERS:
        drop_capabilities(capabilities)
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    libc.prctl(PR_SET_DUMPABLE, 1)
    return function(*args)


def as_first_process(write, *rest):
    """The process that is number 1 inside."""
    try:
        answer = (True, live_inside(*rest))
    except OSError as error:
        answer = (False, error)
    except BaseException:
        answer = (False, AssertionError(traceback.format_exc()))
    os.write(write, pickle.dumps(answer))
    os._exit(0)


def contained(function, *args, binds=None, user_namespace=False, user=None, capabilities=DOCKERS):
    """function(*args) in a container; returns or raises what it did. In a user namespace 0 is FIRST_ID
    outside, and has all capabilities there, as it has with every engine's --privileged."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            check(libc.unshare(CLONE_NEWNS | CLONE_NEWPID), "unshare")
            enter_root(binds or {})
            inner = os.fork()
            if inner == 0:
                as_first_process(write, user_namespace, user, capabilities, function, args)
            os.waitpid(inner, 0)
        except BaseException:
            os.write(write, pickle.dumps((False, AssertionError(traceback.format_exc()))))
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    for folder in Path("/tmp").glob("daxfuse-root-*"):
        if not os.path.ismount(folder) and not any(folder.iterdir()):
            folder.rmdir()
    good, value = pickle.loads(data)
    if good:
        return value
    raise value


def run_inside(*command):
    """A program, for contained(): its exit status, stdout and stderr."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr
