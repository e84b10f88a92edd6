# SPDX-License-Identifier: BSD-3-Clause
"""The daemon is killed, and the machine is: what was acknowledged is there afterwards.

A killed QEMU keeps every store, so this shows recovery and the daemon's own life on a
real device; missing flushes and fences are tests/crash's to find.
"""

import json
import time

import pytest

import load
from guest import LIMIT, MAKE_NAMESPACE
from load import LOAD, START

DEVICE = "/dev/dax0.0"
WRITERS = 4
LEAST = 60  # operations of each writer before the end comes
# How many acknowledgements may be under way in a virtio port when QEMU is killed.
LAG = 16


def check_result(text):
    """No loss, and every writer did enough for that to mean something."""
    result = json.loads(text)
    assert result["wrong"] == []
    assert len(result["operations"]) == WRITERS
    assert min(result["operations"].values()) >= LEAST, result["operations"]


@pytest.mark.parametrize("options", ["dax=never", "dax=always"])
def test_daemon_is_killed(guest, options):
    # What an earlier test may have left when it failed.
    guest.try_run("umount -l /mnt; kill -9 $(pgrep -x daxfuse); sleep 1")
    guest.run(f"mkfs.daxfuse -q -f {DEVICE}")
    for number in range(2):
        guest.run(f"daxfuse {DEVICE} /mnt -o {options}; mkdir /mnt/{number}; rm -f /run/acks\n"
                  + START.format(number, "/run/acks"))
        guest.run(f"{LOAD} wait /run/acks {LEAST + 20 * number}\n"
                  "kill -9 $(pgrep -x daxfuse)\n"
                  "while pgrep -f load.py > /dev/null; do sleep 0.1; done\n"
                  "umount -l /mnt")
        guest.run(f"fsck.daxfuse -n {DEVICE}; daxfuse {DEVICE} /mnt -o {options}")
        check_result(guest.run(f"{LOAD} verify /mnt/{number} /run/acks"))
        guest.run(f"daxfuse umount --wait /mnt; fsck.daxfuse -n {DEVICE}")


def last_acks(path):
    """The last whole line of each writer."""
    last = {}
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            last[line.split()[0]] = line
    return last


def test_machine_is_killed(make_guest, tmp_path):
    """Twice, because the second load starts on a pool that was recovered."""
    acks = tmp_path / "acks.log"
    with make_guest(tmp_path) as guest:
        guest.run(f"{MAKE_NAMESPACE}; mkfs.daxfuse -q {DEVICE}")
    for number in range(2):
        acks.unlink()
        with make_guest(tmp_path) as guest:
            guest.run(f"daxfuse {DEVICE} /mnt; mkdir /mnt/{number}\n"
                      + START.format(number, "/run/port/acks"))
            deadline = time.monotonic() + LIMIT
            while not load.is_busy(acks, LEAST + 50 * number):
                assert time.monotonic() < deadline, guest.log()
                time.sleep(0.05)
            guest.kill()
        last = "".join(last_acks(acks).values())
        with make_guest(tmp_path) as guest:
            # Mounting recovers; only then is there nothing left to complain about.
            guest.run(f"daxfuse {DEVICE} /mnt\ncat > /run/acks <<'END'\n{last}END\n")
            for earlier in range(number):
                assert guest.run(f"ls /mnt/{earlier}")
            check_result(guest.run(f"{LOAD} verify /mnt/{number} /run/acks {LAG}"))
            guest.run(f"daxfuse umount --wait /mnt; fsck.daxfuse -n {DEVICE}")
