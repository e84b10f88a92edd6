# SPDX-License-Identifier: BSD-3-Clause
"""daxfuse-volumes.socket and its service under a real systemd: there before the engines, and for them."""

from pathlib import Path

import pytest

from machine import Pool, Unit, until
from support.plugin import Plugin, PluginError
from support.pool import MIB

SOCKET = "/run/docker/plugins/daxfuse.sock"


@pytest.fixture
def plugin(machine, bin_dir, tmp_path):
    """The plugin of a pool of that machine, asked from outside."""
    pool = Pool(machine, "volumes")
    pool.systemctl("start")
    machine.run(f"echo POOL={pool.point} > /etc/default/daxfuse-volumes; systemctl start daxfuse-volumes.socket")
    plugin = Plugin(bin_dir, pool.point, tmp_path, Path(f"/proc/{machine.leader}/root{SOCKET}"))
    plugin.pool = pool
    yield plugin
    machine.try_run("systemctl stop daxfuse-volumes.socket daxfuse-volumes.service; "
                    "rm /etc/default/daxfuse-volumes; systemctl reset-failed daxfuse-volumes.service")
    machine.try_run(f"systemctl stop {pool.name}; umount -l {pool.point}")
    machine.run(f"rm -rf {pool.conf} {pool.image}")


def test_the_socket_starts_it(plugin, machine):
    """At the first request, and again after it was stopped, or killed."""
    service = Unit(machine, "daxfuse-volumes.service")
    assert service.state() == "inactive"
    plugin.ask("Create", Name="db", Opts={"size": "8M"})
    assert service.state() == "active"
    assert plugin.ask("Mount", Name="db", ID="x")["Mountpoint"] == f"{plugin.pool.point}/volumes/db"
    machine.run(f"test -d {plugin.pool.point}/volumes/db; test -e /run/daxfuse-volumes/*/db/x")
    for end in ("systemctl stop daxfuse-volumes.service", f"kill -9 {service.main_pid()}"):
        machine.try_run(end)
        assert plugin.ask("Get", Name="db")["Volume"]["Status"]["size"] == 8 * MIB
    assert plugin.ask("Get", Name="db")["Volume"]["Status"]["mounts"] == 1
    plugin.ask("Remove", Name="db")
    until(lambda: not machine.run(f"ls {plugin.pool.point}/volumes/.removed"), what="the sweep")


def test_it_sees_who_uses_a_volume(plugin, machine):
    """In other mount namespaces, though its capabilities are few."""
    plugin.ask("Create", Name="db")
    holder = machine.start(f"unshare -m sh -c 'mount --bind {plugin.pool.point}/volumes/db /mnt; echo; cat'")
    assert holder.stdout.readline() == "\n"
    with pytest.raises(PluginError, match="is in use"):
        plugin.ask("Remove", Name="db")
    holder.communicate()
    plugin.ask("Remove", Name="db")


def test_it_may_do_what_it_must(plugin, machine):
    """With the capabilities that its unit leaves it: owners, flags, trees of others."""
    plugin.ask("Create", Name="db", Opts={"size": "8M", "uid": "77", "gid": "78", "mode": "2770", "dax": "yes"})
    path = f"{plugin.pool.point}/volumes/db"
    assert machine.run(f"stat -c '%u %g %a' {path}") == "77 78 2770\n"
    machine.run(f"mkdir -m 0 {path}/closed; touch {path}/closed/f; chown -R 5:5 {path}/closed; chattr +i {path}/closed/f")
    plugin.ask("Remove", Name="db")
    until(lambda: not machine.run(f"ls {plugin.pool.point}/volumes/.removed"), what="the sweep")


def test_without_its_pool(plugin, machine):
    """It says so, and finds it when it is there again."""
    plugin.ask("Create", Name="db")
    plugin.pool.systemctl("stop")
    with pytest.raises(PluginError, match="no pool is mounted"):
        plugin.ask("Mount", Name="db", ID="x")
    assert machine.run(f"ls -A {plugin.pool.point}") == ""
    plugin.pool.systemctl("start")
    assert plugin.ask("Mount", Name="db", ID="x")["Mountpoint"]


def test_order_of_the_boot(plugin, machine):
    """Before the engines, whether they are installed or not; and not at all without its configuration."""
    socket = Unit(machine, "daxfuse-volumes.socket")
    assert {"docker.service", "podman-restart.service"} <= set(socket.get("Before").split())
    machine.run("systemctl stop daxfuse-volumes.socket; mv /etc/default/daxfuse-volumes /tmp")
    socket.systemctl("start")
    assert socket.state() == "inactive"
    machine.run("mv /tmp/daxfuse-volumes /etc/default")


def test_units_are_valid(machine):
    said = machine.try_run("systemd-analyze verify --man=no daxfuse-volumes.socket daxfuse-volumes.service")
    assert "daxfuse" not in said.stderr, said.stderr
    exposure = machine.run("systemd-analyze security --no-pager daxfuse-volumes.service | tail -n 1")
    assert float(exposure.split(":")[1].split()[0]) <= 3.9, exposure
