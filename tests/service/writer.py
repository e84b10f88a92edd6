# SPDX-License-Identifier: BSD-3-Clause
"""Write a file, sync and read it back, again and again, until a line comes on stdin. In the machine."""

import os
import select
import sys
import time

SIZE = 64 << 10

fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
writes, longest = 0, 0
print("writes", flush=True)
while not select.select([0], [], [], 0)[0]:
    data = writes.to_bytes(8, "little") * (SIZE // 8)
    begun = time.monotonic()
    assert os.pwrite(fd, data, 0) == SIZE
    os.fsync(fd)
    assert os.pread(fd, SIZE, 0) == data
    name = f"{sys.argv[1]}.{writes % 8}"
    with open(name, "wb") as file:
        file.write(data[:100])
    os.rename(name, name + ".renamed")
    longest = max(longest, time.monotonic() - begun)
    writes += 1
print(writes, longest)
