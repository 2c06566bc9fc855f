"""The memory and open files of all processes of a server on this machine."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import psutil


@dataclass(frozen=True, slots=True)
class Footprint:
    """Sums over the processes. memory: resident bytes; what they share counts for each."""

    processes: int
    memory: int
    handles: int

    @classmethod
    def of(cls, process: psutil.Process) -> Self:
        """That of the server which `process`, a gateway, belongs to."""
        memory, handles, count = 0, 0, 0
        for each in _family(process):
            try:
                memory, handles = memory + each.memory_info().rss, handles + each.num_fds()
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            count += 1
        return cls(count, memory, handles)


def _family(process: psutil.Process) -> Iterator[psutil.Process]:
    """The topmost of our commands above it, and all below that."""
    top = process
    while (parent := top.parent()) is not None and "slipway" in parent.cmdline():
        top = parent
    yield top
    yield from top.children(recursive=True)
