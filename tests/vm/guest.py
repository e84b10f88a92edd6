# SPDX-License-Identifier: BSD-3-Clause
"""A QEMU guest with an emulated NVDIMM, driven from the host.

The guest runs bash scripts that come over a virtio port (guest/agent), and has a
second port, "acks", whose bytes QEMU appends to a file of the host at once. The
NVDIMM is a file that outlives the guest. Everything is emulated (no KVM), so
time limits here only catch what hangs.
"""

import base64
import json
import ctypes
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import tarfile
import time

HERE = pathlib.Path(__file__).resolve().parent
UNIT = 2 << 20
LIMIT = 600
BOOTS = 10
MAKE_NAMESPACE = "ndctl create-namespace -f -e namespace0.0 -m devdax -a 2M"
# For a guest whose kernel leaves a GiB alone, of which devices of any size can be made (what it has
# above 4 GiB: the third one). And then in the guest: all of it is one device at first, which makes way;
# prints the number of the region.
REGION = {"boot": "memmap=1G%4G-1+0xefffffff", "memory": 3072}
TAKE_REGION = """if lsmod | grep -q ^kmem; then rmmod kmem; fi; modprobe dax_hmem
cd /sys/devices/platform/hmem_platform.*/hmem.*/dax*.0; daxctl disable-device "${PWD##*/}" 2> /dev/null || true
echo 0 > size; cd ..; echo ${PWD##*hmem.}"""


PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)


def die_with_parent():
    """A test run that is killed must not leave QEMU behind."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class GuestError(Exception):
    """The guest does not answer, or a script that must succeed did not."""


class Result:
    """What a script in the guest came to."""

    def __init__(self, status, stdout, stderr):
        self.status = status
        self.stdout = stdout
        self.stderr = stderr

    def __repr__(self):
        return f"status {self.status}\nstdout: {self.stdout}\nstderr: {self.stderr}"


def cache_folder():
    """Where the kernel and the guest's root are; made if they are not there."""
    return pathlib.Path(subprocess.run([HERE / "build"], check=True, text=True,
                                       stdout=subprocess.PIPE).stdout.strip())


def kernel_version():
    return (cache_folder() / "kernel/version").read_text().strip()


def qemu_with_windows():
    """The words of its command; unpacked if it is not there."""
    return subprocess.run([HERE / "qemu"], check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines()


def make_nvdimm(path, mib):
    """A sparse file of the shape that gives an aligned region: N x 16 MiB + 2 MiB."""
    if mib % 16:
        raise ValueError("an NVDIMM is a multiple of 16 MiB")
    with open(path, "wb") as image:
        image.truncate((mib << 20) + UNIT)


def libraries(binary):
    """The shared libraries that a program loads on this machine."""
    result = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False)
    return re.findall(r"(?:=> )?(/\S+) \(0x", result.stdout)


def make_payload(path, programs, folders=()):
    """A tar for the guest: programs into /daxfuse/bin with their libraries where the host has
    them, and folders as (source, name in the guest)."""
    wanted = {}
    for program in programs:
        wanted[f"daxfuse/bin/{pathlib.Path(program).name}"] = program
        for library in libraries(program):
            wanted[library.lstrip("/")] = library
    with tarfile.open(path, "w", dereference=True) as tar:
        for name, source in wanted.items():
            tar.add(source, arcname=name)
        for source, name in folders:
            tar.add(source, arcname=name.lstrip("/"),
                    filter=lambda info: None if "__pycache__" in info.name else info)


class Guest:
    """One boot of the guest. Use as a context manager; leaving it kills QEMU."""

    def __init__(self, folder, nvdimm, payload, exports=None, root=None, boot="", windows=False, disks=(),
                 memory=1536, cpus=2, cache=None, emulator=None, launcher=None, limit=LIMIT):
        """exports: {tag: socket} of directories that the guest is to mount as virtiofs; with DAX windows,
        by another QEMU. root: another disk than build's; boot: words for its kernel and its init; disks:
        more of them, which it has as vdc and so on; memory: MiB; launcher: contrib/qemu/run, to start it with
        the window. cache and emulator: where this machine is a guest itself, and can make neither."""
        self.folder = pathlib.Path(folder)
        self.console = self.folder / "console.log"
        self.acks = self.folder / "acks.log"
        cache = cache or cache_folder()
        self._emulator = emulator or (qemu_with_windows() if windows else ["qemu-system-x86_64"])
        self._memory, self._cpus, self._limit = memory, cpus, limit
        self._windows, self._launcher = windows, launcher
        self._control = self._buffer = None
        self._socket = self.folder / "control.sock"
        self._monitor = self.folder / "qmp.sock"
        self._root = root or cache / "root.img"
        self._words = ("console=ttyS0 nokaslr mitigations=off tsc=reliable quiet panic=-1 oops=panic "
                       f"rdinit=/init {boot}")
        self._boot(self._command(cache, nvdimm, [payload, *disks], exports or {}))

    def _boot(self, command):
        """A kernel that patches its own code while it boots may meet a half patched
        instruction under emulation on several CPUs, and panics: then it is tried again."""
        for attempt in range(BOOTS):
            self._socket.unlink(missing_ok=True)
            self._qemu = subprocess.Popen(
                command, env=self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=open(self.folder / "qemu.log", "ab"), preexec_fn=die_with_parent)
            try:
                self._wait_ready()
                return
            except (GuestError, OSError):
                self.kill()
                if attempt + 1 == BOOTS:
                    raise
            except BaseException:
                self.kill()
                raise

    def _environment(self):
        """The launcher starts a program of one word, with a library of its own."""
        if not self._launcher:
            return None
        loader, _, _, *words = self._emulator
        program = self.folder / "qemu"
        program.write_text(f'#!/bin/sh\nexec {shlex.join([loader, *words])} "$@"\n')
        program.chmod(0o755)
        return {**os.environ, "QEMU": str(program)}

    def _command(self, cache, nvdimm, disks, exports):
        if self._launcher:
            [path] = exports.values()
            start = [self._launcher, path, f"{self._memory}M"]
        else:
            start = [*self._emulator, *self._exported(exports), *self._memory_words(exports)]
        return [
            *start, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(self._cpus),
            "-machine", f"q35,nvdimm={'on' if nvdimm else 'off'}", "-m", "slots=2,maxmem=16G",
            "-nodefaults", "-display", "none", "-no-reboot",
            "-kernel", cache / "vmlinuz", "-initrd", cache / "initrd.img",
            "-append", self._words,
            "-chardev", f"file,id=console,path={self.console},append=on",
            "-serial", "chardev:console",
            *self._devices([self._root, *disks], nvdimm),
            "-device", "virtio-serial-pci",
            "-qmp", f"unix:{self._monitor},server=on,wait=off",
            "-chardev", f"socket,id=control,path={self._socket},server=on,wait=off",
            "-device", "virtserialport,chardev=control,name=control",
            "-chardev", f"file,id=acks,path={self.acks},append=on",
            "-device", "virtserialport,chardev=acks,name=acks",
        ]

    def _memory_words(self, exports):
        """Shared, for those who serve it."""
        return ["-object", f"memory-backend-memfd,id=memory,size={self._memory}M,share={'on' if exports else 'off'}",
                "-machine", "q35,memory-backend=memory", "-m", f"{self._memory}M"]

    @staticmethod
    def _devices(disks, nvdimm):
        words = []
        if nvdimm:
            words += ["-object", f"memory-backend-file,id=nv0,share=on,mem-path={nvdimm},"
                                 f"size={os.stat(nvdimm).st_size},align=2M",
                      "-device", "nvdimm,memdev=nv0,label-size=128k"]
        for i, disk in enumerate(disks):
            words += ["-drive", f"if=none,id=disk{i},format=raw,readonly=on,file={disk}",
                      "-device", f"virtio-blk-pci,drive=disk{i}"]
        return words

    def _exported(self, exports):
        words = []
        for tag, path in exports.items():
            device = (f"vhost-user-test-device-pci,chardev={tag},virtio-id=26,num_vqs=2,vq_size=1024,config_size=40"
                      if self._windows else f"vhost-user-fs-pci,chardev={tag},tag={tag}")
            words += ["-chardev", f"socket,id={tag},path={path}", "-device", device]
        return words

    def _wait_ready(self):
        deadline = time.monotonic() + self._limit
        self._control = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self._control.connect(str(self._socket))
                break
            except OSError as error:
                if self._qemu.poll() is not None or time.monotonic() > deadline:
                    raise GuestError(f"QEMU does not start: {self.log()}") from error
                time.sleep(0.05)
        self._buffer = self._control.makefile("rb")
        self._control.settimeout(self._limit)
        if self._line() != "ready":
            raise GuestError(f"the guest does not boot: {self.log()}")

    def _line(self):
        try:
            line = self._buffer.readline()
        except TimeoutError as error:
            raise GuestError(f"the guest does not answer: {self.log()}") from error
        if not line.endswith(b"\n"):
            raise GuestError(f"the guest died: {self.log()}")
        return line.decode().strip()

    def log(self):
        """The end of what the guest's kernel and QEMU said."""
        said = [path.read_text(errors="replace")[-4000:]
                for path in (self.console, self.folder / "qemu.log") if path.exists()]
        return "\n".join(said)

    @property
    def pid(self):
        """QEMU's."""
        return self._qemu.pid

    def try_run(self, script, limit=None):
        """Run a bash script as root in the guest, whatever comes of it."""
        self._control.settimeout(limit or self._limit)
        self._control.sendall(base64.b64encode(script.encode()) + b"\n")
        status, out, err = (int(word) for word in self._line().split())
        try:
            stdout = self._buffer.read(out)
            stderr = self._buffer.read(err)
        except TimeoutError as error:
            raise GuestError(f"the guest does not answer: {self.log()}") from error
        return Result(status, stdout.decode(errors="replace"), stderr.decode(errors="replace"))

    def run(self, script, limit=None):
        """Run a script that must succeed (bash -e); returns its stdout."""
        result = self.try_run("set -e -o pipefail\n" + script, limit)
        if result.status:
            raise GuestError(f"{script}\n{result!r}\nconsole: {self.log()}")
        return result.stdout

    def qmp(self, *commands):
        """Of QEMU's monitor: each a name, or (name, arguments)."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(self._limit)
            monitor.connect(str(self._monitor))
            answers = monitor.makefile("rb")
            for command in ("qmp_capabilities", *commands):
                name, arguments = (command, {}) if isinstance(command, str) else command
                monitor.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
                for line in answers:
                    answer = json.loads(line)
                    if "error" in answer:
                        raise GuestError(f"{name}: {answer}")
                    if "return" in answer:
                        break

    def reset(self):
        """The button is pressed: it boots again, in the same QEMU."""
        self.qmp(("set-action", {"reboot": "reset"}), "system_reset")
        if self._line() != "ready":
            raise GuestError(f"the guest does not boot again: {self.log()}")

    def kill(self):
        """The power goes: SIGKILL for QEMU."""
        if self._qemu.poll() is None:
            self._qemu.send_signal(signal.SIGKILL)
        self._qemu.wait()
        for end in (self._buffer, self._control):
            if end:
                end.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
