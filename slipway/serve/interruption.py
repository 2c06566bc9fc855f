"""Ctrl-C and SIGTERM as something to look at between two steps; used by `deploy.serve` and `deploy.child`.

Not as exceptions: one may be raised between the start of a server and the moment when somebody answers for
it, and Python ends with the status of SIGINT when a KeyboardInterrupt passed through an `exec` of text, as
`dataclasses` have it on import, although it was caught (run_eval_code_obj in CPython's pythonrun.c).
"""

import signal
import time
from types import FrameType


class Interrupted(Exception):
    """Somebody asked the servers to end."""


class Interruption:
    """How often somebody did."""

    def __init__(self) -> None:
        """From now on the signals are counted, and have no other effect."""
        self._count = 0
        for ending in (signal.SIGINT, signal.SIGTERM):
            signal.signal(ending, self._hear)

    def pause(self, seconds: float) -> None:
        """Sleep. Raises Interrupted when it has happened."""
        time.sleep(seconds)
        if self._count:
            raise Interrupted

    @property
    def urgent(self) -> bool:
        """Whether it happened more than once: somebody does not want to wait for a clean end."""
        return self._count > 1

    def _hear(self, _signal: int, _frame: FrameType | None) -> None:
        # A lock taken here, as threading.Event has one, could be held by what was interrupted.
        self._count += 1
