# SPDX-License-Identifier: BSD-3-Clause
"""
A cluster of PostgreSQL is made and used: pgbench's accounts stay in balance, the server
says nothing bad, and the checksums of all its pages are right.
"""

import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from restart.workloads.base import Workload, command

USER = "postgres"
BAD = re.compile(r"\b(ERROR|FATAL|PANIC|WARNING)\b|terminated by signal|could not")
STARTING = "the database system is starting up"


def programs():
    """Debian keeps the server's programs out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[-2]))
    return found[-1] if found else None


class Postgres(Workload):
    """`scale` is pgbench's. The socket and the log are not on the mount."""

    def prepare(self):
        super().prepare()
        user = pwd.getpwnam(USER)
        for path in (self.folder, self.scratch):
            os.chown(path, user.pw_uid, user.pw_gid)
            path.chmod(0o700)
        self.as_postgres("initdb", "--data-checksums", "--no-locale", "--encoding=UTF8",
                         "--auth=trust", "-D", self.folder / "data")

    def as_postgres(self, program, *args):
        return command(programs() / program, *args, cwd=self.scratch, user=USER, group=USER,
                       extra_groups=[])

    def sql(self, text):
        return self.as_postgres("psql", "-h", self.scratch, "-d", "postgres", "-AtXc", text).strip()

    def start(self):
        log = open(self.scratch / "log", "ab")
        server = subprocess.Popen(
            [programs() / "postgres", "-D", self.folder / "data", "-k", self.scratch, "-h", "",
             "-c", "max_connections=20", "-c", "shared_buffers=16MB", "-c", "max_wal_size=64MB",
             "-c", "checkpoint_timeout=30s", "-c", "wal_recycle=off"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.scratch, user=USER,
            group=USER, extra_groups=[])
        end = time.monotonic() + 60
        while subprocess.run([programs() / "pg_isready", "-q", "-h", self.scratch,
                              "-U", USER], check=False).returncode:
            assert server.poll() is None and time.monotonic() < end, self.log()
            time.sleep(0.05)
        return server

    def stop(self, server):
        server.send_signal(signal.SIGINT)  # fast, and with a checkpoint
        assert server.wait(60) == 0, self.log()

    def log(self):
        return (self.scratch / "log").read_text(errors="replace")

    def run(self, going):
        server = self.start()
        self.as_postgres("pgbench", "-h", self.scratch, "-i", "-q", "-s", max(1, int(self.scale)),
                         "postgres")
        done = 0
        while True:
            self.as_postgres("pgbench", "-h", self.scratch, "-n", "-c", "3", "-T", "1", "postgres")
            self.sql("CHECKPOINT")
            done = self.verify()
            if not going():
                break
        self.stop(server)
        self.verify_files()
        return done

    def verify(self):
        """pgbench adds each amount in four places."""
        row = self.sql("""SELECT (SELECT sum(abalance) FROM pgbench_accounts),
            (SELECT sum(bbalance) FROM pgbench_branches),
            (SELECT sum(tbalance) FROM pgbench_tellers),
            (SELECT coalesce(sum(delta), 0) FROM pgbench_history),
            (SELECT count(*) FROM pgbench_history)""").split("|")
        assert len(set(row[:4])) == 1 and int(row[4]) > 0, row
        bad = [line for line in self.log().splitlines()
               if BAD.search(line) and STARTING not in line]
        assert not bad, "\n".join(bad[:20])
        return row

    def verify_files(self):
        out = self.as_postgres("pg_checksums", "--check", "-D", self.folder / "data")
        assert re.search(r"Bad checksums:\s+0\b", out), out

    def check(self, result):
        self.verify_files()
        server = self.start()
        assert self.verify() == result
        self.sql("VACUUM FULL")
        assert self.verify() == result
        self.stop(server)
        shutil.rmtree(self.folder / "data")
