"""Several isolated processes of one kind, which answer at the same time."""

from collections.abc import Iterator
from contextlib import contextmanager
from queue import LifoQueue
from typing import Any

from slipway.runtime.isolated.process import IsolatedProcess

# The second is started only while the first is busy.
PROCESSES = 2


class ProcessPool:
    """PROCESSES isolated processes. Call from as many threads."""

    def __init__(self, module: str, opening: Any, **bounds: float) -> None:
        """The arguments are those of IsolatedProcess."""
        self._all = [IsolatedProcess(module, opening, **bounds) for _ in range(PROCESSES)]
        # The one used last comes first, because it runs already.
        self._free: LifoQueue[IsolatedProcess] = LifoQueue()
        for process in reversed(self._all):
            self._free.put(process)

    def open(self) -> Any:
        """What a process answers to the opening. Errors as for `IsolatedProcess.open`."""
        with self._process() as process:
            return process.open()

    def ask(self, question: Any) -> Any:
        """The answer of a process that is free. Errors as for `IsolatedProcess.ask`."""
        with self._process() as process:
            return process.ask(question)

    def close(self) -> None:
        """End the processes. What is asked meanwhile fails with EngineFailed."""
        for process in self._all:
            process.close()

    @contextmanager
    def _process(self) -> Iterator[IsolatedProcess]:
        process = self._free.get()
        try:
            yield process
        finally:
            self._free.put(process)
