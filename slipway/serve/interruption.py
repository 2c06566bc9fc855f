"""Ctrl-C and SIGTERM as a state that is checked between two steps.

As an exception, one may be raised between the start of a server and the code that ends it. And Python ends
with the status of SIGINT when a KeyboardInterrupt passed through an `exec` of text, as `dataclasses` do on
import, although it was caught (run_eval_code_obj in CPython's pythonrun.c).
"""

import signal
import time
from types import FrameType


class Interrupted(Exception):
    """The user asked the servers to end."""


class Interruption:
    """Counts Ctrl-C and SIGTERM."""

    def __init__(self) -> None:
        """From now on the signals are counted, and have no other effect."""
        self._count = 0
        for ending in (signal.SIGINT, signal.SIGTERM):
            signal.signal(ending, self._count_signal)

    def pause(self, seconds: float) -> None:
        """Sleep. Raises Interrupted when a signal has come."""
        time.sleep(seconds)
        if self._count:
            raise Interrupted

    @property
    def urgent(self) -> bool:
        """Whether the user asked more than once, and does not want to wait for a clean end."""
        return self._count > 1

    def _count_signal(self, _signal: int, _frame: FrameType | None) -> None:
        # The lock of a threading.Event could be held by the code that the signal interrupted.
        self._count += 1
