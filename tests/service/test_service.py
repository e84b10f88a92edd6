# SPDX-License-Identifier: BSD-3-Clause
"""daxfuse@.service under a real systemd: what administrators do to it, under programs that write."""

import pytest

from machine import HOLDER, Pool, Unit, Writer, until


def wait_for_state(unit, *states):
    return until(lambda: unit.state() in states and unit.state(), 60, f"{unit.name} {states}")


# ---- it is replaced ----------------------------------------------------------------------


def test_restart_is_live(pool, machine):
    """A file that is open stays so; systemd keeps what it was given."""
    with Writer(machine, f"{pool.point}/file") as writer:
        for _ in range(3):
            before = pool.main_pid()
            pool.systemctl("restart")
            assert pool.main_pid() != before
            assert pool.get("NFileDescriptorStore") == "9"
        writer.finish()
    assert pool.status()["mount"]["starts"] == 4
    assert pool.places() == 1


def test_reload_is_live(pool, machine):
    """In the same process: what is installed is executed in its place."""
    with Writer(machine, f"{pool.point}/file") as writer:
        before = pool.main_pid()
        for starts in (2, 3):
            pool.systemctl("reload")
            mount = pool.status()["mount"]
            assert mount["starts"] == starts and "deaths" not in mount
        assert pool.main_pid() == before and pool.get("NRestarts") == "0"
        writer.finish()


def test_killed_under_load(pool, machine):
    with Writer(machine, f"{pool.point}/file") as writer:
        for _ in range(12):
            before = pool.main_pid()
            machine.run(f"kill -9 {before}")
            until(lambda: pool.get("MainPID") not in (before, "0"), 30, "the next process")
        longest = writer.finish()
    mount = pool.status()["mount"]
    assert 2 <= mount["starts"] <= 13  # one that was killed before it began is not counted
    assert mount["deaths"] == mount["starts"] - 1
    assert longest < 120
    assert pool.state() == "active" and pool.get("NFileDescriptorStore") == "9"


def test_changed_options_wait_for_the_next_mount(pool, machine):
    """So a mistake in them takes the mount from nobody."""
    machine.run(f"echo OPTIONS=nonsense >> {pool.conf}")
    with Writer(machine, f"{pool.point}/file") as writer:
        pool.systemctl("restart")
        pool.systemctl("reload")
        writer.finish()
    pool.systemctl("stop")
    pool.systemctl("start", code=1)
    machine.run(f"echo OPTIONS=dax=never >> {pool.conf}")
    pool.systemctl("start")
    assert pool.status()["mount"]["dax"] == "never"


def test_daemon_reexec(pool, machine):
    """systemd itself is replaced, and then the daemon."""
    with Writer(machine, f"{pool.point}/file") as writer:
        machine.run("systemctl daemon-reexec")
        pool.systemctl("restart")
        machine.run(f"kill -9 {pool.main_pid()}")
        writer.finish()
    assert pool.status()["mount"]["starts"] == 3


# ---- it ends -----------------------------------------------------------------------------


def test_stop_unmounts(pool, machine):
    machine.run(f"echo here > {pool.point}/file")
    pool.systemctl("stop")
    assert pool.state() == "inactive" and pool.get("Result") == "success"
    assert not pool.is_mounted()
    pool.fsck()
    pool.systemctl("start")
    assert machine.run(f"cat {pool.point}/file") == "here\n"


def test_stop_of_a_pool_in_use_is_refused(pool, machine):
    """As umount(8) refuses; nobody loses anything, and it can be stopped later."""
    with Writer(machine, f"{pool.point}/file") as writer:
        refused = pool.systemctl("stop", code=1)
        assert "cancel" in refused.stderr.lower()
        until(lambda: pool.get("Job") == "" and pool.state() == "active", 60, "to be active again")
        assert "is in use and is not stopped" in machine.journal(pool.name)
        writer.finish()
    pool.systemctl("stop")
    assert pool.state() == "inactive" and not pool.is_mounted()


def test_stop_waits_if_it_is_to(pool, machine):
    machine.run(f"echo STOP=wait >> {pool.conf}")
    pool.systemctl("restart")
    with Writer(machine, f"{pool.point}/file") as writer:
        pool.systemctl("--no-block stop")
        until(lambda: "waiting for that to end" in machine.journal(pool.name), 30, "a word")
        assert pool.state() == "deactivating"
        writer.finish()
    wait_for_state(pool, "inactive")
    assert not pool.is_mounted()
    pool.fsck()


@pytest.mark.parametrize("stop", ["refuse", "wait"])
def test_stop_beside_a_container(pool, machine, stop):
    """It has a folder of the pool, which umount(8) on the host does not see."""
    machine.run(f"echo STOP={stop} >> {pool.conf}; mkdir {pool.point}/volume; {HOLDER.format(pool.point + '/volume')}")
    pool.systemctl("restart")
    if stop == "refuse":
        refused = pool.systemctl("stop", code=1)
        assert "cancel" in refused.stderr.lower()
        until(lambda: pool.get("Job") == "" and pool.state() == "active", 60, "to be active again")
    else:
        pool.systemctl("--no-block stop")
        until(lambda: "waiting for that to end" in machine.journal(pool.name), 60, "a word")
        assert pool.state() == "deactivating"
    assert "is mounted elsewhere" in machine.journal(pool.name)
    assert pool.is_mounted()
    machine.run("pkill -x -f 'sleep 10000'")
    if stop == "refuse":
        pool.systemctl("stop")
    wait_for_state(pool, "inactive")
    assert not pool.is_mounted()
    pool.fsck()


@pytest.mark.parametrize("command", ["umount {}", "daxfuse umount --wait {}",
                                     "systemctl stop $(systemd-escape -p --suffix=mount {})"])
def test_unmounted_by_hand(pool, machine, command):
    """That is not undone, and no failure."""
    # somebody may look at a mount that has just been made
    until(lambda: machine.try_run(command.format(pool.point)).returncode == 0, 30, command)
    wait_for_state(pool, "inactive")
    assert pool.get("Result") == "success" and not pool.is_mounted()
    assert machine.try_run(f"journalctl -o cat -u {pool.name} | grep 'not a mount'").stdout == ""


def test_unmounted_while_nobody_serves(pool, machine):
    """The next process finds no mount, and makes none."""
    machine.run(f"""kill -STOP {pool.main_pid()}
        kill -9 {pool.main_pid()} & umount -l {pool.point}; wait""")
    wait_for_state(pool, "inactive", "failed")
    assert not pool.is_mounted()


# ---- it cannot be helped -----------------------------------------------------------------


def crash(pool, machine):
    before = pool.main_pid()
    machine.run(f"kill -SEGV {before}")
    until(lambda: pool.get("MainPID") not in (before, "0"), 30, "the next process")


def test_crashes_that_do_not_end(pool, machine):
    """Programs get EIO; systemctl restart has another process try, on the same mount."""
    machine.run(f"""echo here > {pool.point}/file
        exec 9< {pool.point}/file; setsid sleep 1000 > /run/sleep 2>&1 &""")
    for _ in range(8):
        until(lambda: pool.state() == "active", 30, "service")
        crash(pool, machine)
    until(lambda: "EIO" in pool.get("StatusText"), 30, "giving up")
    asked = machine.try_run(f"cat {pool.point}/file")
    assert "Input/output error" in asked.stderr
    assert pool.state() == "active" and pool.places() == 1
    machine.run(f"fsck.daxfuse -n {pool.image}")  # nobody holds it
    pool.systemctl("restart")
    assert machine.run(f"cat {pool.point}/file") == "here\n"
    assert pool.places() == 1 and pool.status()["mount"]["deaths"] == 8
    machine.run("pkill -x sleep")


def test_start_limit(pool, machine):
    """The program can't be executed any more, and the process dies: the mount is dead. The next
    start puts no second one on top of it."""
    # a busy machine is slower than 200 starts within ten seconds
    limit = f"/run/systemd/system/{pool.name}.d"
    machine.run(f"""mkdir -p {limit}; printf '[Unit]\\nStartLimitIntervalSec=1h\\n' > {limit}/limit.conf
        systemctl daemon-reload
        echo here > {pool.point}/file
        mv /usr/bin/daxfuse /usr/bin/daxfuse.away; kill -9 {pool.main_pid()}""")
    try:
        until(lambda: pool.state() == "failed", 600, "the limit")
        assert pool.places() == 1
        assert "not connected" in machine.try_run(f"stat {pool.point}/file").stderr
    finally:
        machine.run(f"mv /usr/bin/daxfuse.away /usr/bin/daxfuse; rm -r {limit}")
    pool.systemctl("reset-failed")
    pool.systemctl("start")
    assert machine.run(f"cat {pool.point}/file") == "here\n"
    assert pool.places() == 1


MISTAKES = {
    "no configuration": ("rm {conf}", "Assert"),
    "wrong device": ("sed -i s,^DEVICE=.*,DEVICE=/nonexistent, {conf}", "/nonexistent: cannot be opened"),
    "no device": ("sed -i /^DEVICE=/d {conf}", "DEVICE and MOUNTPOINT are needed"),
    "no pool": ("truncate -s 64M /run/blank; sed -i s,^DEVICE=.*,DEVICE=/run/blank, {conf}",
                "/run/blank: "),
    "no mount point": ("sed -i s,^MOUNTPOINT=.*,MOUNTPOINT=/nonexistent, {conf}",
                       "mkdir -p /nonexistent"),
    "wrong option": ("echo OPTIONS=nonsense >> {conf}", "unknown option: -o nonsense"),
    "busy": ("setsid flock -x {image} sleep 1000 > /run/sleep 2>&1 &", "in use"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_said_once(machine, request, mistake):
    """One clear line, and no loop of restarts."""
    pool = Pool(machine, f"m{list(MISTAKES).index(mistake)}")
    script, word = MISTAKES[mistake]
    machine.run(script.format(conf=pool.conf, image=pool.image))
    pool.systemctl("start", code=1)
    assert pool.get("NRestarts") == "0" and pool.state() != "active"
    said = pool.systemctl("status", code=None).stdout + machine.journal(pool.name)
    assert word in said, said
    assert not pool.is_mounted()
    machine.run(f"rm -f {pool.conf} {pool.image}; systemctl reset-failed; pkill -x sleep || :")


# ---- what the unit says ------------------------------------------------------------------


def test_exposure(pool, machine):
    """3.5 or better, as systemd judges it."""
    said = machine.run(f"systemd-analyze --no-pager security {pool.name}").splitlines()
    line = [line for line in said if "Overall exposure level" in line][0]
    assert float(line.split(":")[1].split()[0]) <= 3.5, line


def test_group_that_may_have_the_device(pool, machine):
    """The socket is the group's, which takes a capability."""
    machine.run(f"echo OPTIONS=direct=group=daemon >> {pool.conf}")
    pool.systemctl("stop")
    pool.systemctl("start")
    assert "no direct mappings" not in machine.journal(pool.name)
    assert machine.run("find /run/daxfuse -name '*.socket' -group daemon")


def test_units_are_valid(pool, machine):
    done = machine.try_run(f"systemd-analyze --man=no verify {pool.name}")
    assert done.returncode == 0 and pool.name not in done.stderr, done.stderr


def test_dependencies(machine):
    """Of a device on its unit, of files on their filesystems; with odd names, too. And daxctl comes first."""
    machine.run(r"""mkdir -p /etc/daxfuse
        printf 'DEVICE="/dev/dax0.0"\nMOUNTPOINT=/srv/a/fast\n' > /etc/daxfuse/one.conf
        printf "DEVICE='/dev/disk/by-label/a\\\\x20b'\nMOUNTPOINT=/fast\n" > /etc/daxfuse/two.conf
        printf 'DEVICE=/srv/50%% of it\nMOUNTPOINT="/mnt/a b"\n' > /etc/daxfuse/three.conf
        printf 'LABEL=x /mnt/a\\040%% daxfuse noauto 0 0\n/dev/x /mnt/ext4 ext4 noauto 0 0\n' > /etc/fstab
        printf '[Service]\nExecStart=true\n' > /run/systemd/system/daxdev-reconfigure@.service
        systemctl daemon-reload""")
    one = Unit(machine, "daxfuse@one.service")
    assert "dev-dax0.0.device" in one.get("Requires").split()
    assert "dev-dax0.0.device" in one.get("After").split()
    assert "srv-a-fast.mount" in one.get("After").split()
    assert one.get("RequiresMountsFor") == "/srv/a"
    two = Unit(machine, "daxfuse@two.service")
    assert r"dev-disk-by\x2dlabel-a\x5cx20b.device" in two.get("Requires").replace(r"\\", "\\")
    three = Unit(machine, "daxfuse@three.service")
    assert "/srv/50% of it" in three.get("RequiresMountsFor") and ".device" not in three.get("Requires")
    daxctl = Unit(machine, "daxdev-reconfigure@dev-dax0.0.service")
    before = daxctl.get("Before").replace(r"\\", "\\").replace('"', "").split()
    assert {"daxfuse@one.service", "daxfuse@two.service", "daxfuse@three.service", r"mnt-a\x20\x25.mount"} <= set(before)
    assert "mnt-ext4.mount" not in before and daxctl.get("DefaultDependencies") == "no"
    machine.run("rm /etc/daxfuse/*.conf /run/systemd/system/daxdev*; echo > /etc/fstab; systemctl daemon-reload")
