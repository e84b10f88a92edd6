# SPDX-License-Identifier: BSD-3-Clause
"""A reader of `daxfuse watch`."""

import json
import os
import select
import signal
import subprocess
import time

LIMIT = 60


class Watch:
    """Begins to watch, and returns when it does; `first` is the event that says so."""

    def __init__(self, bin_dir, place, *options, interval=10):
        self.process = subprocess.Popen(
            [bin_dir / "daxfuse", "watch", "--interval", str(interval), *options, str(place)],
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.rest = b""
        self.events = []  # read, but not yet asked for
        self.first = self.next()

    def fill(self, end):
        """Whether there was something to read, and not the end of it."""
        pipe = self.process.stdout.fileno()
        poll = select.poll()  # of descriptors above 1023, too
        poll.register(pipe, select.POLLIN)
        assert poll.poll(max(0, end - time.monotonic()) * 1000), f"no event in {LIMIT} s"
        data = os.read(pipe, 1 << 20)
        *lines, self.rest = (self.rest + data).split(b"\n")
        self.events += [json.loads(line) for line in lines]
        return bool(data)

    def next(self):
        end = time.monotonic() + LIMIT
        while not self.events:
            assert self.fill(end), "it ended"
        return self.events.pop(0)

    def until(self, wanted):
        """The events up to the first for which wanted(event) holds."""
        found = []
        while not found or not wanted(found[-1]):
            found.append(self.next())
        return found

    def finish(self):
        """What comes until it ends, with what was changed before this call."""
        self.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + LIMIT
        while self.fill(end):
            pass
        assert self.process.wait(LIMIT) == 0
        self.process.stdout.close()
        return self.events

    def __enter__(self):
        return self

    def __exit__(self, *args):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def covers(event, ino, offset=0, length=0, what="data"):
    """Whether a reader that looks where the event says sees a change of that range."""
    if "all" in event["what"]:
        return True
    if event["ino"] != ino or what not in event["what"]:
        return False
    if not length:
        return True
    begin = event.get("offset", 1 << 64)
    size = event.get("length", 0)
    return begin <= offset and (size is None or offset + length <= begin + size)
