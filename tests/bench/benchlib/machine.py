# SPDX-License-Identifier: BSD-3-Clause
"""The machine that figures come from, and memory to bench on."""

import contextlib
import datetime
import os
import pathlib
import platform
import subprocess
import tempfile


def command(*words, **options):
    """Run a command that must succeed; returns its stdout."""
    done = subprocess.run([str(word) for word in words], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: exit {done.returncode}\n"
                           f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def _cpu():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def _memory_gib():
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal"):
            return round(int(line.split()[1]) / 2**20)
    return 0


def describe(root):
    """One paragraph for a report."""
    commit = command("git", "-C", root, "rev-parse", "--short", "HEAD").strip()
    today = datetime.date.today().isoformat()
    virtual = " (virtual)" if "hypervisor" in pathlib.Path("/proc/cpuinfo").read_text() else ""
    return (f"{today}, commit {commit}: {_cpu()}{virtual}, {os.cpu_count()} CPUs, "
            f"{_memory_gib()} GiB DRAM, Linux {platform.release()}; load average at the start "
            f"{os.getloadavg()[0]:.1f}. "
            "The pool is DRAM (a tmpfs mounted huge=always): what it costs to flush to real "
            "persistent memory is not in the figures, the flush and fence instructions are.")


@contextlib.contextmanager
def huge_tmpfs(size):
    """A folder on a tmpfs of 2 MiB pages; needs root."""
    with tempfile.TemporaryDirectory(prefix="daxfuse-bench-") as folder:
        command("mount", "-t", "tmpfs", "-o", f"huge=always,size={size}", "tmpfs", folder)
        try:
            yield pathlib.Path(folder)
        finally:
            command("umount", folder)


def drop(path):
    """Remove a file of a tmpfs, if it is there."""
    path.unlink(missing_ok=True)
