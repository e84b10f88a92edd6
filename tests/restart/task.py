# SPDX-License-Identifier: BSD-3-Clause
"""
Processes that can be waited for with a limit and ended whatever they do: the tests
of a daemon that may hang need nothing less.
"""

import ctypes
import errno
import mmap
import os
import pickle
import signal
import time
import traceback
from pathlib import Path

PR_SET_PDEATHSIG = 1
MARK = "DAXFUSE_RESTART_TEST"

libc = ctypes.CDLL(None, use_errno=True)


class Flag:
    """A byte that a process and its children share."""

    def __init__(self):
        self.memory = mmap.mmap(-1, mmap.PAGESIZE)

    def set(self, value=1):
        self.memory[0] = value

    def __bool__(self):
        return self.memory[0] != 0


class Task:
    """
    function(*args) in a process group of its own. All programs that it starts carry a
    mark in their environment, by which kill() finds them.
    """

    count = 0

    def __init__(self, name, function, *args):
        Task.count += 1
        self.name = name
        self.mark = f"{os.getpid()}-{Task.count}"
        self.status = None
        self.answer = os.memfd_create("answer")
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(parent, function, args)

    def _run(self, parent, function, args):
        try:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.setpgid(0, 0)
            if os.getppid() != parent:
                os._exit(1)
            os.environ[MARK] = f"{os.environ.get(MARK, '')}/{self.mark}"
            answer = (True, function(*args))
        except BaseException:
            answer = (False, traceback.format_exc())
        try:
            with open(self.answer, "wb") as out:
                pickle.dump(answer, out)
        finally:
            os._exit(0)

    def has_ended(self):
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
        return self.status is not None

    def wait(self, seconds):
        """Whether it has ended within this time."""
        end = time.monotonic() + seconds
        while not self.has_ended() and time.monotonic() < end:
            time.sleep(0.005)
        return self.has_ended()

    def result(self, seconds):
        """What the function returned; AssertionError if it raised, was killed, or lasts."""
        if not self.wait(seconds):
            raise AssertionError(f"{self.name} still runs after {seconds:.0f} s:\n"
                                 f"{stack(self.pid)}")
        with open(os.dup(self.answer), "rb") as answer:
            answer.seek(0)
            data = answer.read()
        if not data:
            raise AssertionError(f"{self.name} ended with wait status {self.status:#x}")
        good, value = pickle.loads(data)
        if not good:
            raise AssertionError(f"{self.name}:\n{value}")
        return value

    def kill(self):
        """End it and all that it started. What waits for a daemon ends when that is aborted."""
        if not self.has_ended():
            kill_quietly(self.pid)
        kill_marked(self.mark)

    def close(self):
        self.kill()
        self.wait(20)
        if self.answer >= 0:
            os.close(self.answer)
        self.answer = -1


def together(functions, seconds=600):
    """Each of {name: function} in a Task, all at once; their results. One that fails ends all."""
    tasks = [Task(name, function) for name, function in functions.items()]
    end = time.monotonic() + seconds
    try:
        while not all(task.has_ended() for task in tasks) and time.monotonic() < end:
            for task in tasks:
                if task.has_ended():
                    task.result(0)
            time.sleep(0.01)
        return {task.name: task.result(0) for task in tasks}
    finally:
        for task in tasks:
            task.close()


def kill_quietly(pid, number=signal.SIGKILL):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def kill_marked(mark):
    """SIGKILL to all programs in whose environment the mark is."""
    wanted = f"/{mark}/".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for variable in variables:
            if variable.startswith(MARK.encode()) and wanted in variable + b"/":
                kill_quietly(int(folder.name))


def stack(pid):
    """Where the threads of a process and of its children wait in the kernel."""
    lines = []
    for each in [pid, *descendants(pid)]:
        for thread in Path(f"/proc/{each}/task").glob("*"):
            try:
                name = (thread / "comm").read_text().strip()
                where = (thread / "stack").read_text().splitlines()[:6]
            except OSError as error:
                name, where = "?", [errno.errorcode.get(error.errno, "?")]
            calls = " < ".join(line.split()[-1].partition("+")[0] for line in where)
            lines.append(f"{each}/{thread.name} {name}: {calls}")
    return "\n".join(lines)


def children(pid):
    """The children of all threads of a process; [] if it is gone."""
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += map(int, file.read().split())
    except OSError:
        pass
    return found


def descendants(pid):
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def is_running(pid):
    """Whether there is such a process, and it is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
