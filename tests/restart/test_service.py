# SPDX-License-Identifier: BSD-3-Clause
"""What a service does where systemd can't help, and when it fails."""

import os
import shutil
import signal

from restart.keeper import Service
from support.pool import is_mounted


def test_kernel_without_safe_resending(make_pool):
    """The unit says keeper=systemd on every machine; here it must mean none."""
    pool = make_pool()
    old = [shutil.which("setarch"), "--uname-2.6"]
    pool.daemon = Service([*old, pool.bin_dir / "daxfuse", pool.image, pool.point, "-f",
                           "-o", "keeper=systemd"], pool.folder)
    with pool.limit(60):
        pool.daemon.wait_until_ready()
        mount = pool.status()["mount"]
        assert mount["keeper"] == "none" and mount["restartable"] is False
        assert "not safe" in mount["not_restartable"]
        os.kill(pool.daemon.pid, signal.SIGTERM)
        pool.daemon.wait(30)
        pool.daemon = None
    assert not is_mounted(pool.point)
