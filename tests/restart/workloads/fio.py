# SPDX-License-Identifier: BSD-3-Clause
"""fio writes and verifies, in a DAX file or a cached one."""

from restart.workloads.base import Workload, command, repeat

COMMON = ("--ioengine=psync", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0",
          "--fallocate=none", "--thread", "--random_generator=lfsr")
JOBS = (
    ("--rw=randwrite", "--bs=4k"),
    ("--rw=write", "--bs=128k", "--verify_backlog=8"),
    ("--rw=randwrite", "--bsrange=512-64k", "--norandommap", "--random_generator=tausworthe",
     "--verify_backlog=1"),
    ("--rw=randwrite", "--bs=16k", "--fsync=32", "--numjobs=2"),
)


class Fio(Workload):
    """`scale` times 32 MiB a job."""

    def run(self, going):
        return repeat(self.step, going)

    def step(self, count):
        size = int(32 * self.scale) << 20
        job = JOBS[count % len(JOBS)]
        path = "--directory" if any("numjobs" in word for word in job) else "--filename"
        target = self.folder if path == "--directory" else self.folder / "file"
        out = command("fio", f"--name=j{count % len(JOBS)}", f"{path}={target}", f"--size={size}",
                      f"--aux-path={self.scratch}", *COMMON, *job, cwd=self.scratch)
        assert "err= 0" in out, out
