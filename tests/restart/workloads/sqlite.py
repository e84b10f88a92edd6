# SPDX-License-Identifier: BSD-3-Clause
"""A database in WAL mode with two writers and a checker; what was committed is there."""

import os
import sqlite3
import time

from restart.task import together
from restart.workloads.base import Workload, repeat


class Sqlite(Workload):
    """Each writer writes down, beside the mount, which rows were committed."""

    def prepare(self):
        super().prepare()
        database = self.connect()
        assert database.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
        with database:
            database.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, writer, number, value)")
            database.execute("CREATE INDEX by_value ON item (value)")
        database.close()

    def connect(self):
        database = sqlite3.connect(self.folder / "database", timeout=60)
        database.execute("PRAGMA synchronous=FULL")
        return database

    def run(self, going):
        return together({"writer 1": lambda: self.write(1, going),
                         "writer 2": lambda: self.write(2, going),
                         "checker": lambda: repeat(lambda _: self.verify(), going)})

    def log(self, writer):
        return self.scratch / f"committed{writer}"

    def write(self, writer, going):
        database = self.connect()
        count = 0
        with open(self.log(writer), "a", buffering=1) as log:
            while going() or count < 5:
                with database:
                    database.executemany(
                        "INSERT INTO item (writer, number, value) VALUES (?, ?, ?)",
                        [(writer, count * 10 + i, f"{count * 7919 % 101}" * 40) for i in range(10)])
                log.write(f"{count}\n")
                if count % 50 == 49:
                    with database:
                        database.execute("DELETE FROM item WHERE writer=? AND number % 10 > 7",
                                         [writer])
                count += 1
        database.close()
        return count

    def verify(self):
        """All that was committed before we began to look."""
        committed = {writer: self.committed(writer) for writer in (1, 2)}
        database = self.connect()
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for writer, wanted in committed.items():
            rows = {row for (row,) in database.execute(
                "SELECT number FROM item WHERE writer=? AND number % 10 <= 7", [writer])}
            missing = {count * 10 + i for count in range(wanted) for i in range(8)} - rows
            assert not missing, f"committed rows are missing: {sorted(missing)[:10]}"
        database.close()
        time.sleep(0.05)

    def committed(self, writer):
        if not os.path.exists(self.log(writer)):
            return 0
        return self.log(writer).read_text().count("\n")

    def check(self, result):
        self.verify()
        database = self.connect()
        for writer in (1, 2):
            (count,) = database.execute("SELECT count(DISTINCT number / 10) FROM item "
                                        "WHERE writer=?", [writer]).fetchone()
            assert count == result[f"writer {writer}"]
        database.close()
