"""A program in a process of its own, which is started again when a question has ended it."""

import signal
from typing import Any

from slipway.contract.errors import EngineFailed, EngineRefused, InvalidRequest, SlipwayError, TemplateStopped
from slipway.runtime.isolated.running import RunningProcess

# What takes milliseconds as a rule takes several times as long on a busy machine.
PATIENCE_S = 5.0
# To import a program and to open it: files are read, on a disk that may be slow.
_START_S = 60.0
# A process watches its own time. This is for one that does not run, such as a stopped one.
_MARGIN_S = 2.0
_WATCHED = 1  # the status with which it ends when its time is over
_KILLED = -9
_ERRORS: dict[str, type[SlipwayError]] = {
    kind.__name__: kind for kind in (EngineRefused, InvalidRequest, TemplateStopped)
}


class Stopped(Exception):
    """A question took too long or ended its process. The message says so of `it`."""


class IsolatedProcess:
    """Runs one of the programs of Slipway, started when it is needed and again after its end.

    Use it from one thread at a time, except for `close`.
    """

    def __init__(self, module: str, opening: Any, opening_s: float = _START_S) -> None:
        """opening: what the program gets first, in JSON. opening_s: the seconds it has for that."""
        self._module = module
        self._opening = opening
        self._opening_s = opening_s
        self._opened: Any = None
        self._process: RunningProcess | None = None
        self._closed = False

    def open(self) -> Any:
        """Start the process, unless it runs; return its answer to the opening.

        Raises what its program raises, Stopped, or EngineFailed when it does not start.
        """
        self._running()
        return self._opened

    def ask(self, question: Any) -> Any:
        """The answer to a question, in JSON.

        Raises the errors of `open`, and EngineFailed when another program kills the process.
        """
        return self._exchange(self._running(), question, PATIENCE_S)

    def close(self) -> None:
        """End the process, for good."""
        self._closed = True
        process = self._process
        if process is not None:
            process.end()

    def _running(self) -> RunningProcess:
        if self._process is not None:
            if self._process.alive:
                return self._process
            self._process.end()
        if self._closed:
            raise EngineFailed("The server is shutting down.")
        try:
            process = self._process = RunningProcess(self._module)
            process.exchange(None, _START_S)
        except (OSError, EOFError) as error:
            raise EngineFailed(
                f"A process of {self._module} does not start ({error or 'its own error is above'})."
            ) from None
        try:
            self._opened = self._exchange(process, self._opening, self._opening_s)
        except SlipwayError:
            process.end()
            raise
        return process

    def _exchange(self, process: RunningProcess, question: Any, within_s: float) -> Any:
        """The answer to a question, or to the opening."""
        asked = {"within_s": within_s, "question": question}
        try:
            reply = process.exchange(asked, within_s + _MARGIN_S)
        except (EOFError, TimeoutError) as error:
            raise self._failure(process.status, isinstance(error, TimeoutError), within_s) from None
        if "error" in reply:
            kind = _ERRORS[reply["error"]]
            if issubclass(kind, InvalidRequest):
                raise kind(reply["message"], reply["param"])
            raise kind(reply["message"])
        return reply["answer"]

    def _failure(self, status: int | None, overdue: bool, within_s: float) -> Exception:
        if overdue or status == _WATCHED:
            return Stopped(f"it takes more than {within_s:g} s")
        if status == _KILLED:
            return EngineFailed(f"A process of {self._module} was killed; send the request again.")
        return Stopped(f"it ended its process ({_how(status or 0)})")


def _how(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"status {status}"
