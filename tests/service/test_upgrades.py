# SPDX-License-Identifier: BSD-3-Clause
"""Installed elsewhere, and installed anew while programs write."""

import re
import shutil

from machine import Pool, Writer, until

PREFIX = "/opt/daxfuse"


def test_prefix(make_machine):
    """Units and the rule say where things are, and it runs from there."""
    machine = make_machine("bookworm", PREFIX)
    machine.boot()
    machine.run(f"""cd {PREFIX}; systemctl link $PWD/lib/systemd/system/daxfuse@.service
        ln -s $PWD/sbin/mkfs.daxfuse $PWD/sbin/fsck.daxfuse $PWD/bin/daxfuse /usr/local/bin/
        mkdir -p /usr/local/lib/systemd/system-generators
        ln -s $PWD/lib/systemd/system-generators/* /usr/local/lib/systemd/system-generators/""")
    pool = Pool(machine, "one")
    pool.systemctl("start")
    assert machine.run(f"readlink /proc/{pool.main_pid()}/exe").strip() == f"{PREFIX}/bin/daxfuse"
    pool.works()
    pool.systemctl("reload")
    pool.systemctl("stop")
    assert pool.state() == "inactive" and not pool.is_mounted()
    rule = machine.run(f"cat {PREFIX}/lib/udev/rules.d/95-daxfuse.rules")
    command = re.search(r'IMPORT\{program\}="(.*)\$devnode"', rule)[1]
    assert "ID_FS_TYPE=daxfuse" in machine.run(f"{command}{pool.image}")
    machine.run(f"""systemd-tmpfiles --create {PREFIX}/lib/tmpfiles.d/daxfuse.conf
        test $(stat -c %a%U /run/daxfuse) = 755root
        grep -q '^libdir={PREFIX}/lib' {PREFIX}/lib*/pkgconfig/daxmap.pc {PREFIX}/lib/*/pkgconfig/daxmap.pc
        ! grep -r '@[A-Z_]*@' {PREFIX}/lib/systemd {PREFIX}/lib/udev {PREFIX}/libexec""")
    machine.close()


def replace_program(machine, source):
    """As package managers do: the old one lives on without a name."""
    new = machine.root / "usr/bin/new"
    shutil.copy2(source, new)
    machine.run("mv /usr/bin/new /usr/bin/daxfuse")


def test_upgrade_under_a_writer(pool, machine, bin_dir):
    with Writer(machine, f"{pool.point}/file") as writer:
        before = pool.main_pid()
        replace_program(machine, bin_dir / "daxfuse")
        assert "(deleted)" in machine.run(f"readlink /proc/{before}/exe")
        pool.systemctl("reload")
        assert "(deleted)" not in machine.run(f"readlink /proc/{before}/exe")
        assert pool.main_pid() == before
        writer.finish()


def test_upgrade_that_cannot_take_over(pool, machine, bin_dir):
    """Whatever is done to it the old program goes on with the mount, until that is unmounted."""
    with Writer(machine, f"{pool.point}/file") as writer:
        try:
            replace_program(machine, bin_dir.parent / "service/daxfuse-next")
            pool.systemctl("reload", code=1)
            assert "does not understand" in machine.journal(pool.name)
            before = pool.main_pid()
            machine.run(f"kill -9 {before}")
            until(lambda: pool.get("MainPID") not in (before, "0"), 30, "the next process")
            assert pool.status()["mount"]["starts"] == 2
            assert "(deleted)" in machine.run(f"readlink /proc/{pool.main_pid()}/exe")
            pool.systemctl("restart")
            assert pool.status()["mount"]["starts"] == 3
            assert "the last one goes on" in machine.journal(pool.name)
        finally:
            replace_program(machine, bin_dir / "daxfuse")
        pool.systemctl("reload")
        assert "(deleted)" not in machine.run(f"readlink /proc/{pool.main_pid()}/exe")
        writer.finish()
