# SPDX-License-Identifier: BSD-3-Clause
"""What tests of guests with virtiofs share: a pool of the host, exports of it, tests of a mount run in a guest."""

import contextlib
import json
import os
import subprocess
import threading
import time

from support.pool import MIB, Pool

PROJECT = 100


@contextlib.contextmanager
def host_pool(bin_dir, folder, *options, **kind):
    """A pool of the host, mounted, with a folder to be exported."""
    with Pool(bin_dir, folder, **kind) as pool:
        pool.mount(*options)
        (pool.point / "shared").mkdir(mode=0o755)
        yield pool


@contextlib.contextmanager
def exported(pool, *options, tag="pool", name="socket"):
    """The socket of an export of that folder."""
    path = pool.folder / name
    pool.run("daxfuse", "export", "--socket", path, "--tag", tag, "--subdir", "shared", *options, pool.point)
    yield path
    pool.run("daxfuse", "export", "--remove", "--socket", path, pool.point)


def export_of(pool, name="socket"):
    """What the status says of it."""
    exports = json.loads(pool.run("daxfuse", "status", pool.point))["exports"]
    [export] = [each for each in exports if each["socket"].endswith(f"/{name}")]
    return export


def run_sides(program, pool, guests, size, slots, rounds):
    """The program sides.c on the host and in each guest, all on one file at once. Its name is new, as guests
    believe for a second what they were told of names."""
    path = pool.point / "shared" / f"{len(guests) + 1}-sides-{size}"
    path.touch()
    os.truncate(path, size)
    said = {}

    def run_in(guest, *command):
        said[guest] = guest.try_run(" ".join(map(str, command))).stdout

    numbers = [len(guests) + 1, slots, rounds]
    threads = [threading.Thread(target=run_in, args=[guest, "sides", f"/run/pool/{path.name}", i, *numbers])
               for i, guest in enumerate(guests)]
    for thread in threads:
        thread.start()
    ours = subprocess.run([pool.bin_dir / "daxfuse", "run", "--", program, path, str(len(guests)),
                           *map(str, numbers)], capture_output=True, text=True)
    for thread in threads:
        thread.join()
    assert [ours.stdout, *said.values()] == ["ok\n"] * (len(guests) + 1), ours.stderr
    path.unlink()


def run_limits(machine, pool, at_limit, full):
    """A guest's programs where a project is at its limit, and where the pool is full; and when there is space again.
    at_limit, full: what a store to a hole comes to."""
    folder, filler, before = pool.point / "shared" / "limited", pool.point / "filler", pool.free()[0]
    folder.mkdir()
    pool.run("daxfuse", "quota", folder, PROJECT, "--assign", "--bytes", "16M")
    command = "python3 /daxfuse/tests/vm/limits.py /run/pool"
    assert machine.run(f"{command}/limited; rmdir /run/pool/limited").split() == ["EDQUOT", "EDQUOT", at_limit, "OK"]
    # what comes back later would be free when all is thought to be taken
    for _ in range(600):
        if pool.free()[0] >= before:
            break
        time.sleep(0.1)
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, pool.free()[0] * 4096 - 16 * MIB)
    found = machine.run(command).split()
    filler.unlink()
    assert found == ["ENOSPC", "ENOSPC", full, "OK"]


def run_functional(machine, choice):
    """Tests of the host's mount, in the guest, all by one pytest, which takes long to start there: {file: which}."""
    files = " ".join(f"functional/{file}.py" for file in choice)
    which = " or ".join(f"({file} and ({words}))" for file, words in choice.items())
    result = machine.try_run(f"cd /daxfuse/tests && DAXFUSE_FOLDER=/run/pool DAXFUSE_BIN=/daxfuse/bin "
                             f"python3 -m pytest -q -p no:cacheprovider --tb=short {files} -k '{which}'")
    assert result.status == 0, result.stdout[-5000:] + result.stderr
    assert " passed" in result.stdout
