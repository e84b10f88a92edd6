# SPDX-License-Identifier: BSD-3-Clause
"""The fuzzer for half a minute, from a fixed start, and over what it once found.

For longer: build/asan/tests/fuzz/fuzz-pool -max_total_time=600 FOLDER
"""

import random
import struct
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FUZZER = ROOT / "build/asan/tests/fuzz/fuzz-pool"
FOUND = sorted((Path(__file__).parent / "found").iterdir())


def run(*arguments, fuzzer=FUZZER):
    done = subprocess.run([fuzzer, "-timeout=20", *map(str, arguments)], capture_output=True,
                          text=True, errors="replace", timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_what_was_found(path):
    run(path)


def test_fuzz(tmp_path):
    run("-max_total_time=25", "-max_len=300", "-len_control=0", "-seed=1",
        f"-artifact_prefix={tmp_path}/", tmp_path)


NAMES = (b"empty", b"inline", b"direct", b"sparse", b"table", b"units", b"far", b"hole")
LOOKUP, SETATTR, SETUPMAPPING, REMOVEMAPPING = 1, 4, 48, 49


def request(opcode, node, arguments):
    """As fuzz_guest.c takes it."""
    return bytes([len(arguments), opcode, node, 2]) + arguments


def with_a_window(bits, seed):
    """A guest that maps what it has looked up, and truncates it: to begin with, as that is not found by chance."""
    chance = random.Random(seed)
    requests = [request(LOOKUP, 1, name + b"\0") for name in NAMES]
    for _ in range(40):
        opcode = chance.choice((SETUPMAPPING, SETUPMAPPING, REMOVEMAPPING, SETATTR))
        arguments = bytes(chance.randrange(256) for _ in range(3))
        if opcode == SETATTR:
            arguments = struct.pack("IIQQ56x", 8, 0, 0, chance.choice((0, 1, 100, 2 << 20, 5 << 20, 8 << 20)))
        requests.append(request(opcode, chance.randrange(2, 24), arguments))
    return bytes([bits]) + b"".join(requests)


def test_fuzz_a_guest(tmp_path):
    """Requests of a guest, and its queue; some with a window."""
    for i, bits in enumerate((32, 32 | 64, 32 | 128, 32 | 64 | 128) * 4):
        (tmp_path / f"window{i}").write_bytes(with_a_window(bits, i))
    run("-max_total_time=25", "-max_len=4000", "-len_control=0", "-seed=1",
        f"-artifact_prefix={tmp_path}/", tmp_path, fuzzer=FUZZER.with_name("fuzz-guest"))
