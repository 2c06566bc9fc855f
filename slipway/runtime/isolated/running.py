"""A child process that runs, and that is killed when a message takes too long."""

import math
import threading
import time
from contextlib import suppress
from typing import Any

from slipway.runtime.child import start_child
from slipway.runtime.isolated.frames import read_frame, write_frame


class RunningProcess:
    """A module of Slipway that sends a message when it is ready, and one for each message that it gets."""

    def __init__(self, module: str) -> None:
        """Raises OSError when no process can be started."""
        self._process = start_child(module)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        self._changed = threading.Condition()
        self._due = math.inf
        # When the thread looks next. It sleeps through messages that are answered before that: a timer for
        # each would cost 0.1 ms.
        self._looks_at = math.inf
        self._ended = False
        threading.Thread(target=self._watch, name="isolated process", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether it could take a message."""
        return self._process.poll() is None

    @property
    def status(self) -> int | None:
        """How it ended."""
        return self._process.returncode

    def exchange(self, message: Any, within_s: float) -> Any:
        """Send a message, unless it is None, and return the next from the process.

        Raises EOFError when the process ends, TimeoutError when it was killed because its time was over.
        """
        due = time.monotonic() + within_s
        self._wait_until(due)
        try:
            if message is not None:
                with suppress(OSError, ValueError):  # it has ended, and reading says so too
                    write_frame(self._to, message)
            return read_frame(self._from)
        except (EOFError, ValueError):  # a ValueError when `end` closed the pipes, or for half a message
            self.end()
            if time.monotonic() >= due:
                raise TimeoutError from None
            raise EOFError from None
        finally:
            self._due = math.inf

    def end(self) -> None:
        """Kill the process, if it runs. A thread that waits for a message gets EOFError."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._process.kill()
        self._process.wait()
        for pipe in (self._to, self._from):
            with suppress(OSError):  # what was not written yet
                pipe.close()

    def _wait_until(self, due: float) -> None:
        with self._changed:
            self._due = due
            if due < self._looks_at:
                self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._ended:
                left = self._due - time.monotonic()
                if left <= 0:
                    self._process.kill()
                    return
                self._looks_at = self._due
                self._changed.wait(None if left == math.inf else left)
