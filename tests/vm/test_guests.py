# SPDX-License-Identifier: BSD-3-Clause
"""A guest that mounts a directory of the host's pool as virtiofs: the same files on both sides, at once."""

import contextlib
import os
import signal
import threading
import time

import pytest

from support.process import eventually
from virtiofs import export_of, exported, host_pool, run_functional, run_limits

# What differs for a guest: every request of its kernel, its page cache. A choice, as each takes a second.
FUNCTIONAL = {
    "test_files": "dax and (whole or growing or overwrites or append or direct or splice)",
    "test_links": "many or symlink_lengths or device_nodes",
    "test_rename": "exchange or noreplace or whiteout",
    "test_xattrs": "namespaces or sizes",
    "test_unlinked": "not space and not killed",
    "test_acls": "access or group or mask or inheritance or umask or owner",
    "test_locks": "not serialises",
    "test_mmap": "dax and (through or private or seen or share or hole or unlinked)",
    "test_overlay": "overlay",
}
MOUNT = "mkdir -p /run/pool; mount -t virtiofs pool /run/pool"
SMALL = """
import mmap, os
fd = os.open("/run/pool/small", os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 1024)
m = mmap.mmap(fd, 1024)
m[:5] = b"bytes"
m[1000:1005] = b"ended"
m.flush()
print(bytes(m[:5]), os.pread(fd, 5, 1000))
"""


@pytest.fixture(scope="module")
def host(bin_dir, huge_dir):
    with host_pool(bin_dir, huge_dir / "exported") as pool:
        yield pool


@pytest.fixture(scope="module")
def shared(host):
    """The directory that is exported."""
    return host.point / "shared"


@pytest.fixture(scope="module")
def machine(host, make_guest, tmp_path_factory):
    """A guest that has mounted it on /run/pool."""
    with (exported(host) as path,
          make_guest(tmp_path_factory.mktemp("virtiofs"), exports={"pool": path}) as guest):
        guest.run(MOUNT)
        yield guest


def test_files_of_both_sides(machine, shared):
    (shared / "host").write_text("of the host\n")
    assert machine.run("cat /run/pool/host; echo of the guest > /run/pool/guest; "
                       "chown 12:34 /run/pool/guest; chmod 640 /run/pool/guest") == "of the host\n"
    found = (shared / "guest").stat()
    assert (shared / "guest").read_text() == "of the guest\n"
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12, 34, 0o640)
    (shared / "host").write_text("of the host, changed\n")
    (shared / "guest").unlink()
    assert machine.run("sleep 1.5; cat /run/pool/host; ls /run/pool") == "of the host, changed\nhost\n"
    (shared / "host").unlink()


def test_nothing_is_seen_outside(machine, host):
    (host.point / "outside").write_text("secret")
    assert machine.run("ls -a /run/pool/.. | grep -c outside || true; ls -A /run/pool") == "0\n"
    (host.point / "outside").unlink()


def test_mappings_of_a_small_file(machine, shared):
    assert machine.run(f"python3 -c '{SMALL}'") == "b'bytes' b'ended'\n"
    assert (shared / "small").read_bytes() == b"bytes".ljust(1000, b"\0") + b"ended".ljust(24, b"\0")
    (shared / "small").unlink()


def test_programs(machine, shared):
    """One is executed from there, the directory is an upper layer, sqlite keeps a journal there."""
    assert machine.run("""
        cd /run/pool; cp /usr/bin/busybox .; ./busybox echo executed; rm busybox
        mkdir -p up work lower/d /run/over; echo lower > lower/f
        mount -t overlay -o lowerdir=lower,upperdir=up,workdir=work overlay /run/over
        echo upper > /run/over/f; rmdir /run/over/d; cat /run/over/f; umount /run/over; ls up
        rm -rf up work lower
        sqlite3 db 'pragma journal_mode=truncate; create table t(x); insert into t values (7)' > /dev/null
        sqlite3 db 'select x from t'; rm -f db db-journal""") == "executed\nupper\nd\nf\n7\n"
    assert list(shared.iterdir()) == []


def test_functional(machine):
    run_functional(machine, FUNCTIONAL)


def test_limits(machine, host):
    run_limits(machine, host, "EDQUOT", "ENOSPC")


WORK = """
    cd /run/pool; mkdir work; cd work
    sqlite3 db 'pragma journal_mode=truncate; create table t(i integer primary key, x text)' > /dev/null
    for i in $(seq 40); do
        seq $i $((i * 50)) > new; mv new f$i; ln f$i l$i; rm l$i
        sqlite3 db "insert into t(x) values ('$(sha256sum < f$i)')" || exit 1
    done
    sync
    sqlite3 db 'pragma integrity_check; select count(*) from t'
    for i in $(seq 40); do
        [ "$(sqlite3 db "select x from t where i = $i")" = "$(sha256sum < f$i)" ] || echo f$i differs
    done
    ls | wc -l"""


def test_the_daemon_is_killed(machine, host, shared):
    """The serving process dies again and again while the guest works: it sees a pause, and nothing else."""
    said = []
    worker = threading.Thread(target=lambda: said.append(machine.try_run(WORK)))
    worker.start()
    killed = set()  # one is killed twice where the machine takes long
    while worker.is_alive():
        time.sleep(0.3)
        pid = host.serving()
        with contextlib.suppress(ProcessLookupError):
            if pid != host.daemon.pid:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
    worker.join()
    lines = eventually(lambda: len(host.log.read_text().splitlines()), len(killed))
    text = host.log.read_text()
    host.log.write_text("")  # they are of our making
    [result] = said
    assert result.stdout == "ok\n40\n41\n" and result.status == 0, result.stdout + result.stderr
    assert len(killed) > 3 and lines == len(killed)
    assert all("killed by signal 9" in line for line in text.splitlines())
    assert [len(path.read_text().split()) for path in (shared / "work/f1", shared / "work/f40")] == [50, 1961]
    assert export_of(host)["connections"] == 1 and export_of(host)["kept"]
    machine.run("rm -r /run/pool/work")


def test_the_guest_is_stopped(machine, host):
    """And goes on, with another process at the other end."""
    machine.run("exec 3<> /run/pool/held; echo before >&3; sleep 600 >/dev/null 2>&1 & echo $! > /run/held")
    machine.qmp("stop")
    host.run("daxfuse", "restart", host.point)
    machine.qmp("cont")
    assert machine.run("cat /proc/$(cat /run/held)/fd/3; kill $(cat /run/held); rm /run/pool/held") == "before\n"
    assert export_of(host)["connections"] == 1


def test_the_guest_is_reset(machine, host, shared):
    """It boots anew, in the same QEMU: what it had open is let go of, and it mounts again."""
    machine.run("cd /run/pool; mkdir kept; exec 3> gone; rm gone; sleep 600 >/dev/null 2>&1 &")
    assert export_of(host)["files"] == 1
    machine.reset()
    machine.run(MOUNT)
    assert machine.run("ls /run/pool") == "kept\n" and export_of(host)["files"] == 0
    machine.run("rmdir /run/pool/kept")


def has_come_back(host, before):
    """All of that was free, and perhaps what the guest still knew then of files that it had removed."""
    return all(now >= then for now, then in zip(host.free(), before))


def test_the_guest_is_killed(machine, host, shared):
    """SIGKILL of QEMU while it writes: all that it had open is let go of, and the host goes on."""
    before = host.free()
    machine.run("cd /run/pool; (exec 3>gone; rm gone; while :; do echo bytes >&3; done) >/dev/null 2>&1 </dev/null &"
                "sleep 1")
    machine.kill()
    (shared / "after").write_text("goes on")
    (shared / "after").unlink()
    for _ in range(1200):
        if has_come_back(host, before):
            break
        time.sleep(0.1)
    assert has_come_back(host, before)
