# SPDX-License-Identifier: BSD-3-Clause
"""Guests with a DAX window, for tests: the VMM is the test itself, in each of the dialects."""

import time

import pytest

from support.pool import MIB
from support.vhost import (ALIOTH, CROSVM, QEMU, ROOT, SIZE, UNIT, WindowGuest)

KEEP_SIZE, PUNCH, COLLAPSE, INSERT = 1, 2, 8, 32
DIALECTS = {dialect.name: dialect for dialect in (QEMU, CROSVM, ALIOTH)}
UNITS = 16  # of most windows here


def until(condition):
    """What happens soon; a test that hangs is ended from outside."""
    while not condition():
        time.sleep(0.01)


def error_of(function, *args, **kwargs):
    with pytest.raises(OSError) as caught:
        function(*args, **kwargs)
    return caught.value.errno


def pattern(size, seed=1):
    """Bytes that are no zeroes, and the same in each run."""
    return bytes((seed * 31 + i // 7) % 251 + 1 for i in range(size))


@pytest.fixture(params=DIALECTS)
def dialect(request):
    return DIALECTS[request.param]


@pytest.fixture
def window_export(export):
    """window_export(dialect, size=..., *options) -> the export's socket."""

    def make(dialect=QEMU, size=UNITS * UNIT, *options):
        return export("--window", size, "--vmm", dialect.name, *options)

    return make


@pytest.fixture
def attach(window_export):
    """attach(dialect, size) -> a guest of an export of its own; ended with the test."""
    guests = []

    def make(dialect=QEMU, size=UNITS * UNIT, path=None, **how):
        guests.append(WindowGuest(path or window_export(dialect, size), dialect, size, **how))
        return guests[-1]

    yield make
    for guest in guests:
        guest.close()


@pytest.fixture
def guest(attach, dialect):
    return attach(dialect)


@pytest.fixture
def units(guest):
    """units(name, count) -> a node of a new file of so many units of bytes; mapped for writing from the
    beginning of the window."""

    def make(name="f", count=1, fill=True):
        node, _, fh = guest.create(ROOT, name)
        for i in range(count * UNIT // MIB if fill else 0):
            guest.write(node, fh, bytes([i % 250 + 1]) * MIB, i * MIB)
        if not fill:
            guest.setattr(node, SIZE, size=count * UNIT)
        for i in range(count):
            guest.setup(node, i * UNIT, i * UNIT, writes=True)
        guest.release(node, fh)
        return node

    return make


def requests(guest, kind):
    return [each for each in guest.window.asked if each[0] == kind]
