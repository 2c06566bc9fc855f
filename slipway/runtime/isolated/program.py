"""The inside of an isolated process: it answers questions of its parent until that is gone."""

import faulthandler
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from slipway.contract.errors import SlipwayError
from slipway.runtime.isolated.frames import read_frame, write_frame

Call = Callable[[Any], Any]
# Of a process whose program is at fault; other than faulthandler's, which is 1.
_BROKEN = 70


class Program(Protocol):
    """What the process does. Both methods take and return JSON, and may raise a SlipwayError."""

    def open(self, opening: Any) -> Any:
        """Get ready; called first, and once."""
        ...

    def answer(self, question: Any) -> Any:
        """The answer to one question."""
        ...


def run_program(program: Program, max_bytes: int) -> None:
    """Answer until the parent is gone.

    max_bytes: of memory that the process may take from here on, on Linux. What libraries have reserved for a
    thread of each core does not count: on large machines that is gigabytes.
    """
    _limit_memory(max_bytes)
    questions, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no reply
    sys.excepthook = _break
    call: Call = program.open
    try:
        write_frame(replies, {"ready": True})
        with Path(os.devnull).open("w") as nowhere:
            while True:
                asked = read_frame(questions)
                # Ends the process from a thread of its own, even while Python's lock is held. Without the
                # parent nothing else would end it.
                faulthandler.dump_traceback_later(asked["within_s"], exit=True, file=nowhere)
                reply = _reply(call, asked["question"])
                faulthandler.cancel_dump_traceback_later()
                write_frame(replies, reply)
                call = program.answer
    except (EOFError, OSError):
        return


def _break(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.__excepthook__(kind, error, trace)
    os._exit(_BROKEN)


def _reply(call: Call, question: Any) -> Any:
    try:
        return {"answer": call(question)}
    except SlipwayError as error:
        param = getattr(error, "param", None)
        return {"error": type(error).__name__, "message": str(error), "param": param}


def _limit_memory(max_bytes: int) -> None:
    if sys.platform == "linux":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        pages = int(Path("/proc/self/statm").read_text().split()[5])  # data and stacks
        bound = pages * resource.getpagesize() + max_bytes
        bound = bound if most == resource.RLIM_INFINITY else min(bound, most)
        resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
