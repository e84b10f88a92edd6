# SPDX-License-Identifier: BSD-3-Clause
"""touch.py FILE...: map each, load a byte of each page, then store 7 to each. JSON for each: whether stat calls
it a DAX file, and the page faults of both."""

import json
import mmap
import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.syscalls import statx  # noqa: E402  (needs the path above)

STATX_ATTR_DAX = 0x200000


def faults(touch, size):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for at in range(0, size, 4096):
        touch(at)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def touch_file(path):
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        found = {"dax": bool(statx(path).attributes & STATX_ATTR_DAX),
                 "loads": faults(lambda at: mapping[at], len(mapping)),
                 "stores": faults(lambda at: mapping.__setitem__(at, 7), len(mapping))}
        mapping.flush()
        return found


print(json.dumps([touch_file(path) for path in sys.argv[1:]]))
