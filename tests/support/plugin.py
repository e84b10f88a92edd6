# SPDX-License-Identifier: BSD-3-Clause
"""The volume plugin's process, and requests as engines send them."""

import json
import signal
import socket
import subprocess
import time

from support.pool import HANG

SLOW = "the pool does not answer"
DOCKER = "application/vnd.docker.plugins.v1.2+json"


class PluginError(Exception):
    """What an answer's "Err" says."""


class Plugin:
    """daxfuse-volumes for a pool, in a folder for its socket and notes."""

    def __init__(self, bin_dir, pool_path, folder, path=None):
        self.bin_dir, self.pool_path, self.folder = bin_dir, pool_path, folder
        self.path = path or folder / "daxfuse.sock"
        self.process = None

    def start(self):
        log = open(self.folder / "plugin.log", "ab")
        self.process = subprocess.Popen(
            [self.bin_dir / "daxfuse", "volumes", "--pool", self.pool_path, "--socket", self.path,
             "--ids", self.folder / "ids"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        self.wait_for_socket()
        return self

    def wait_for_socket(self):
        end = time.monotonic() + HANG
        while not self.is_answered():
            assert self.process.poll() is None and time.monotonic() < end, self.log()
            time.sleep(0.01)

    def is_answered(self):
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(str(self.path)) == 0

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(HANG)

    def kill(self):
        self.stop(signal.SIGKILL)

    def log(self):
        return (self.folder / "plugin.log").read_text()

    def raw(self, data):
        """What comes back for these bytes, until the other side ends."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.path))
            connection.settimeout(HANG)
            try:
                connection.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it has heard enough, and may have said why
            answer = b""
            try:
                while part := connection.recv(65536):
                    answer += part
            except ConnectionResetError:
                pass
            return answer

    def post(self, path, body=None, host=""):
        """(status, object). body: bytes, or an object."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode() + b"\n"
        lines = [f"POST {path} HTTP/1.1", f"Host: {host}", "User-Agent: Go-http-client/1.1",
                 f"Content-Length: {len(body or b'')}", f"Accept: {DOCKER}"]
        answer = self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
        head, _, rest = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(rest)

    def ask(self, what, patient=True, **fields):
        """A request gets less than a second, which may be too little on a busy machine: like engines, we
        ask again."""
        end = time.monotonic() + HANG
        status, answer = self.post(f"/VolumeDriver.{what}", fields)
        while patient and SLOW in answer.get("Err", "") and time.monotonic() < end:
            status, answer = self.post(f"/VolumeDriver.{what}", fields)
        if status != 200 or answer["Err"]:
            assert status == 500 and set(answer) == {"Err"}, (status, answer)
            raise PluginError(answer["Err"])
        return answer


def podman_headers(length):
    return ("Host: plugin", f"Content-Length: {length}",
            "Content-Type: application/vnd.docker.plugins.v1.1+json", "Accept-Encoding: gzip")


def wait_until(ask, seconds=HANG):
    end = time.monotonic() + seconds
    while not ask():
        assert time.monotonic() < end
        time.sleep(0.02)


class ActivatedPlugin(Plugin):
    """With a socket that is there before it, and after it, as systemd's are."""

    def __init__(self, *args):
        super().__init__(*args)
        self.listen()

    def listen(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen(64)

    def start(self):
        command = [self.bin_dir / "daxfuse", "volumes", "--pool", self.pool_path, "--ids", self.folder / "ids"]
        fd = self.listener.fileno()
        move = "" if fd == 3 else f"exec 3<&{fd} {fd}<&-; "
        script = f'{move}LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        with open(self.folder / "plugin.log", "ab") as log:
            self.process = subprocess.Popen(["bash", "-c", script, "start", *command], pass_fds=[fd],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        self.listener.close()
        self.path.unlink(missing_ok=True)
