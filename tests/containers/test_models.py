# SPDX-License-Identifier: BSD-3-Clause
"""What docs/guide/models.md shows: weights, arenas and chunks as files of volumes."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from support.pool import MIB

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes volumes")

TOUCH = Path(__file__).parents[2] / "contrib/touch-pages"


@pytest.fixture
def volume(make_pool):
    """volume(name, size) -> a volume of a pool."""
    pool = make_pool(size=512 * MIB)

    def make(name, size):
        pool.run("daxfuse", "volume", "create", "-o", f"size={size}", pool.point, name)
        return pool, pool.point / "volumes" / name

    return make


def say(pool, *words):
    return subprocess.run([pool.bin_dir / "daxfuse", "run", "--", *words], check=True, capture_output=True,
                          text=True).stdout


def is_huge(huge_dir):
    return os.path.ismount(huge_dir)


def page_faults(said):
    """Of each program that mapped MiB of a file in huge pages: (faults, MiB); some are its own."""
    return [(int(faults), int(mib)) for faults, mib in
            re.findall(r"(\d+) page faults, (\d+) MiB mapped in huge pages", said)]


def test_weights(volume, huge_dir, tmp_path):
    """Mapped for reading, by two at once, and replaced beneath them."""
    pool, folder = volume("models", "256M")
    weights = os.urandom(100 * MIB)
    (folder / "model").write_bytes(weights)
    assert "100 MiB in whole 2 MiB units" in pool.run("daxfuse", "map", "-u", folder / "model")
    kernel = subprocess.run([TOUCH, "--read", folder / "model"], check=True, capture_output=True, text=True).stdout
    assert " 0 MiB mapped in huge pages" in kernel
    both = say(pool, "sh", "-c", f"{TOUCH} --read {folder}/model & {TOUCH} --read {folder}/model; wait")
    if is_huge(huge_dir):
        assert [mib for _, mib in page_faults(both)] == [100, 100]
        assert all(50 <= faults < 500 for faults, _ in page_faults(both))
    with open(folder / "model", "rb") as old:
        (folder / "new").write_bytes(weights[::-1])
        os.rename(folder / "new", folder / "model")
        assert old.read() == weights
    assert (folder / "model").read_bytes() == weights[::-1]


def test_an_arena(volume, huge_dir):
    pool, folder = volume("kv", "128M")
    with open(folder / "arena", "wb") as file:
        file.truncate(64 * MIB)
    said = say(pool, TOUCH, folder / "arena")
    if is_huge(huge_dir):
        [(faults, mib)] = page_faults(said)
        assert 32 <= faults < 400 and mib == 64
    assert (folder / "arena").read_bytes()[::4096] == b"\1" * (64 * 256)
    pool.remount()
    assert (folder / "arena").read_bytes()[::4096] == b"\1" * (64 * 256)


def test_chunks(volume):
    _, folder = volume("kv", "32M")
    written = 0
    with pytest.raises(OSError, match="quota"):
        while written < 100:
            (folder / f"{written}.pt").write_bytes(os.urandom(2 * MIB))
            written += 1
    assert written == 15
    for i in range(8):
        (folder / f"{i}.pt").unlink()
    for i in range(100, 107):
        (folder / f"{i}.pt").write_bytes(os.urandom(2 * MIB))
