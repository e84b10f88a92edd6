# SPDX-License-Identifier: BSD-3-Clause
"""What a mapping costs, in system calls: counted, so that no machine is too slow or too busy."""

import re
import shutil
import subprocess
from collections import Counter

import pytest

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")

# getppid() stands before and after what is counted.
PROGRAM = r"""
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int fd = open(argv[1], O_RDWR), prot = atoi(argv[4]);
    size_t length = strtoul(argv[2], NULL, 0);
    off_t offset = strtol(argv[3], NULL, 0);
    char *first = mmap(NULL, length, prot, MAP_SHARED, fd, offset), *memory;

    if (first == MAP_FAILED)
        return 1;
    getppid();
    memory = mmap(NULL, length, prot, MAP_SHARED, fd, offset);
    getppid();
    if (memory == MAP_FAILED)
        return 1;
    for (size_t at = 0; at < length; at += 4096)
        if (*(long *)(memory + at) != (long)(offset + at))
            return 2;
    getppid();
    munmap(memory, length);
    getppid();
    return 0;
}
"""

READ, WRITE = 1, 3
UNIT = 2 << 20


@pytest.fixture(scope="module")
def mapper(tmp_path_factory):
    path = tmp_path_factory.mktemp("cost")
    (path / "mapper.c").write_text(PROGRAM)
    subprocess.run(["cc", "-O1", "-o", path / "mapper", path / "mapper.c"], check=True)
    return path / "mapper"


@pytest.fixture
def count(mapper, bin_dir, file, tmp_path):
    """count(length, offset, protection) -> the calls of mmap(), of touching all of it, of munmap()"""

    def count(*args):
        log = tmp_path / "log"
        done = subprocess.run(["strace", "-o", log, bin_dir / "daxfuse", "run", mapper, file,
                               *map(str, args)], timeout=60)
        assert done.returncode == 0
        calls = re.findall(r"^(\w+)\(", log.read_text(), re.M)
        marks = [i for i, name in enumerate(calls) if name == "getppid"]
        assert len(marks) == 4
        return [Counter(calls[a + 1:b]) for a, b in zip(marks, marks[1:])]

    return count


@pytest.mark.parametrize("protection", [READ, WRITE])
@pytest.mark.parametrize("length, offset", [(4096, 0), (4096, 5 * 4096), (UNIT // 2, UNIT)])
def test_a_small_mapping(length, offset, protection, count):
    """One question, one mmap, two masks, and that a child shall not have it."""
    mapped, touched, unmapped = count(length, offset, protection)
    assert mapped["ioctl"] == 1
    assert mapped["mmap"] == 1
    assert mapped["rt_sigprocmask"] <= 2
    assert mapped["munmap"] == 0
    assert mapped.total() <= 7, mapped
    assert touched.total() == 0
    assert unmapped["munmap"] == 1
    assert unmapped.total() <= 6, unmapped


def test_over_the_edge_of_a_unit(count):
    """Two pieces, over a background."""
    mapped, touched, _ = count(UNIT // 2, UNIT * 3 // 4, WRITE)
    assert mapped["ioctl"] == 1
    assert mapped["mmap"] == 3
    assert mapped["rt_sigprocmask"] <= 2
    assert touched.total() == 0


def test_a_large_mapping(count):
    """Its address must line up with the file, and it has a background."""
    mapped, touched, unmapped = count(2 * UNIT, 0, WRITE)
    assert mapped["ioctl"] == 1
    assert mapped["rt_sigprocmask"] <= 2
    assert mapped.total() <= 12, mapped
    assert touched.total() == 0
    assert unmapped.total() <= 8, unmapped
