# SPDX-License-Identifier: BSD-3-Clause
"""Handles over the kernel's own NFS server, which exports a mounted pool (exported.py)."""

import pytest

from guest import MAKE_NAMESPACE

DEVICE = "/dev/dax0.0"
GRACE = 10  # seconds, the shortest; no file can be opened before they are over
EXPORT_FLAGS = 0x2402  # fsid=, no_subtree_check, any port, read and write, root is root
EXPIRY = 4000000000
EXPORT = f"""
busybox ifconfig lo 127.0.0.1 up
mount -t nfsd nfsd /proc/fs/nfsd
cd /proc/net/rpc
# What exportfs and rpc.mountd would answer when the server asks.
echo 'nfsd 127.0.0.1 {EXPIRY} guest' > auth.unix.ip/channel
echo 'guest /mnt {EXPIRY} {EXPORT_FLAGS} 65534 65534 0' > nfsd.export/channel
echo 'guest 1 \\x00000000 {EXPIRY} /mnt' > nfsd.fh/channel
cd /proc/fs/nfsd
echo {GRACE} > nfsv4gracetime
echo '-3 +4' > versions
echo 'tcp 2049' > portlist
echo 2 > threads
for i in $(seq 600); do
	read ended < v4_end_grace
	[ $ended = N ] || break
	sleep 0.1
done
[ $ended = Y ] || {{ echo 'the grace period does not end' >&2; exit 1; }}
"""
MOUNT = """
mkdir -p /run/nfs
mount -i -t nfs4 127.0.0.1:/ /run/nfs \
	-o vers=4.2,addr=127.0.0.1,clientaddr=127.0.0.1,noac,softerr,timeo=300,retrans=1
"""
END = """
umount /run/nfs
echo 0 > /proc/fs/nfsd/threads
for cache in auth.unix.ip nfsd.export nfsd.fh; do
	echo $(($(date +%s) + 1)) > /proc/net/rpc/$cache/flush
done
umount /proc/fs/nfsd
"""


@pytest.fixture
def exported(make_guest, tmp_path):
    """A guest of its own: a server that hangs would keep the device."""
    with make_guest(tmp_path) as machine:
        for module in ("nfsd", "nfsv4"):
            if machine.try_run(f"modprobe {module}").status:
                pytest.skip(f"the guest's kernel has no module {module}")
        machine.run(f"{MAKE_NAMESPACE}\n"
                    f"mkfs.daxfuse -q {DEVICE}; daxfuse {DEVICE} /mnt")
        machine.run(EXPORT, limit=120)
        machine.run(MOUNT, limit=120)
        yield machine
        machine.run(END, limit=120)
        machine.run(f"daxfuse umount --wait /mnt; fsck.daxfuse -n {DEVICE}", limit=120)


def test_exported(exported):
    """The checks that run in the guest."""
    result = exported.try_run("cd /daxfuse/tests && DAXFUSE_BIN=/daxfuse/bin "
                              "python3 -m pytest -q -p no:cacheprovider --tb=short vm/exported.py",
                              limit=300)
    assert result.status == 0, result.stdout[-10000:] + exported.log()
    assert " passed" in result.stdout
