# SPDX-License-Identifier: BSD-3-Clause
"""The writers of tests/vm/load.py: each word of their data names its writer, its operation
and its place."""

from vm.load import WRITERS

from restart.task import together
from restart.workloads.base import Workload


class Acknowledged(Workload):
    """Creates, renames, unlinks, appends, replacements, overwrites."""

    def run(self, going):
        def work(number, kind):
            writer = kind(str(self.folder), number)
            writer.prepare()
            count = 0
            while going() or count < 10:
                writer.run(count)
                count += 1
            wrong = list(writer.check(count - 1))
            assert not wrong, wrong[:20]
            return count

        return together({kind.__name__: lambda number=number, kind=kind: work(number, kind)
                         for number, kind in enumerate(WRITERS, 1)})

    def check(self, result):
        for number, kind in enumerate(WRITERS, 1):
            wrong = list(kind(str(self.folder), number).check(result[kind.__name__] - 1))
            assert not wrong, wrong[:20]
