# SPDX-License-Identifier: BSD-3-Clause
"""
A daemon that systemd runs, in place of a child: as subprocess.Popen, with the properties that
DAXFUSE_PROPERTIES has, one a line. tests/service/hardened.py sets them.
"""

import itertools
import os
import signal
import subprocess
import time

LIMIT = 60
KILLED, DUMPED = "2", "3"  # CLD_KILLED, CLD_DUMPED: ExecMainStatus= is a signal


def is_wanted():
    return "DAXFUSE_PROPERTIES" in os.environ


class Service:
    """`pid` is the daemon's."""

    numbers = itertools.count()

    def __init__(self, command, log, folder):
        self.args = command
        self.unit = f"daxfuse-test-{os.getpid()}-{next(self.numbers)}.service"
        words = []
        for line in [*os.environ["DAXFUSE_PROPERTIES"].splitlines(), f"WorkingDirectory={folder}"]:
            words += ["-p", line]
        self.returncode = None
        self.runner = subprocess.Popen(
            ["systemd-run", "--quiet", "--wait", "--pipe", "--service-type=exec", f"--unit={self.unit}", *words, "--",
             *map(str, command)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pid = self._find_pid()

    def _get(self, key):
        return subprocess.run(["systemctl", "show", "-P", key, self.unit], check=True, capture_output=True,
                              text=True).stdout.strip()

    def _find_pid(self):
        """It may have ended by then."""
        end = time.monotonic() + LIMIT
        while True:
            ended = self.runner.poll() is not None
            for key in ("MainPID", "ExecMainPID"):
                pid = int(self._get(key))
                if pid:
                    return pid
            if ended:
                return 0
            assert time.monotonic() < end, f"{self.unit} does not start"
            time.sleep(0.01)

    def _take_end(self):
        """systemd forgets at once what has ended well."""
        if self.runner.returncode == 0:
            self.returncode = 0
            return
        status = int(self._get("ExecMainStatus"))
        self.returncode = -status if self._get("ExecMainCode") in (KILLED, DUMPED) else status
        subprocess.run(["systemctl", "reset-failed", self.unit], capture_output=True)

    def poll(self):
        if self.returncode is None and self.runner.poll() is not None:
            self._take_end()
        return self.returncode

    def wait(self, timeout=None):
        if self.returncode is None:
            self.runner.wait(timeout)
            self._take_end()
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)
