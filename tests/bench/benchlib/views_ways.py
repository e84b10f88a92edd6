# SPDX-License-Identifier: BSD-3-Clause
"""The filesystems that kernel views are compared with, on the NVDIMM of an emulated guest."""

import contextlib
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/vm"))
import guest as vm  # noqa: E402  (needs the path above)

DEVICE, MODULE = "/dev/dax0.0", "/daxfuse/daxview.ko"
VIEW, PLAIN, EXT4, XFS = "daxfuse, view", "daxfuse, no view", "ext4 -o dax", "xfs -o dax"
WAYS = (VIEW, PLAIN, EXT4, XFS)
MEMORY = 3072  # MiB; the page cache holds 1 GiB of a file, too
DEVDAX = "ndctl create-namespace -f -e namespace0.0 -m devdax -a 2M > /dev/null\n"
FSDAX = "ndctl create-namespace -f -e namespace0.0 -m fsdax -a 2M > /dev/null\n"
MOUNT = {
    VIEW: DEVDAX + f"mkfs.daxfuse -q -f {DEVICE}; daxfuse {DEVICE} /mnt -o views=on",
    PLAIN: DEVDAX + f"mkfs.daxfuse -q -f {DEVICE}; daxfuse {DEVICE} /mnt -o views=off",
    EXT4: FSDAX + "mkfs.ext4 -q -F -b 4096 -E stride=512,stripe_width=512 /dev/pmem0\n"
                  "mount -o dax=always /dev/pmem0 /mnt",
    XFS: FSDAX + "mkfs.xfs -q -f -m reflink=0 -d su=2m,sw=1,agcount=2 -l size=64m /dev/pmem0\n"
                 "mount -o dax=always /dev/pmem0 /mnt; xfs_io -c 'extsize 2m' /mnt",
}
UNMOUNT = {VIEW: "daxfuse umount --wait /mnt", PLAIN: "daxfuse umount --wait /mnt",
           EXT4: "umount /mnt", XFS: "umount /mnt"}


class Counting(vm.Guest):
    """Its clock is the number of instructions: each takes a nanosecond. With one CPU none spins for another."""

    def __init__(self, *how, **more):
        super().__init__(*how, **more, cpus=1)

    def _command(self, *how):
        words = super()._command(*how)
        words[words.index("tcg,thread=multi")] = "tcg,thread=single"
        return [*words, "-icount", "shift=0,sleep=off"]


def _xfs_modules(folder):
    """As files for the guest, in the order to be loaded."""
    cache, version = vm.cache_folder(), vm.kernel_version()
    said = subprocess.run(["modprobe", "-C", "/dev/null", "-d", cache / "kernel/usr", "-S", version,
                           "--show-depends", "xfs"], check=True, capture_output=True, text=True)
    for path in re.findall(r"^insmod (\S+)", said.stdout, re.M):
        unpacked = folder / pathlib.Path(path).name.removesuffix(".xz")
        unpacked.write_bytes(subprocess.run(["xz", "-dc", path], check=True,
                                            capture_output=True).stdout)
        yield unpacked


class Guests:
    """Boots of the same guest, each with an NVDIMM of its own."""

    def __init__(self, build, folder):
        self._folder = folder
        subprocess.run(["cmake", "--install", build, "--prefix", folder / "usr"], check=True,
                       stdout=subprocess.DEVNULL)
        (source,) = (folder / "usr/src").glob("daxview-*")
        subprocess.run([ROOT / "tests/vm/module", source, folder / "built"], check=True)
        xfs = list(_xfs_modules(folder))
        programs = [*(build / "bin" / program for program in ("daxfuse", "mkfs.daxfuse")),
                    *(build / "bench" / program for program in ("bench-views", "bench-age", "bench-faults"))]
        self._modules = [MODULE, *(f"/daxfuse/{path.name}" for path in xfs)]
        vm.make_payload(folder / "payload.tar", programs,
                        [(folder / "built" / vm.kernel_version() / "daxview.ko", MODULE),
                         *((path, f"/daxfuse/{path.name}") for path in xfs)])

    @contextlib.contextmanager
    def boot(self, nvdimm, kind=vm.Guest):
        """nvdimm: its size, MiB."""
        image = self._folder / "nvdimm.img"
        vm.make_nvdimm(image, nvdimm)
        with kind(self._folder, image, self._folder / "payload.tar", memory=MEMORY) as guest:
            guest.run("\n".join(f"insmod {path}" for path in self._modules))
            yield guest
