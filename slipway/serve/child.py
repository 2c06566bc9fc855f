"""A server as a child process: its start, its log, its end."""

import ctypes
import os
import re
import signal
import subprocess
import time
from contextlib import nullcontext, suppress
from itertools import groupby
from pathlib import Path

from slipway.contract.errors import ServerFailed
from slipway.serve.interruption import Interruption
from slipway.serve.stage_processes import Look, StageProcesses
from slipway.serve.tritonserver import CommandLine

_MAX_LINES = 15
# Triton's lines that are no errors: of levels info and warning, and its tables of models.
_NO_ERROR = re.compile(r"[IW]\d{4} |[+|]|\s*$")
_POLL_S = 0.05
# Seconds that a server has to tell its clients, when the user does not want to wait.
_HURRY_S = 3.0
# A process that was killed leaves at once, unless it hangs in a driver.
_KILL_TIMEOUT_S = 10.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)


class Child:
    """One server process in a group of its own, so that the terminal's Ctrl-C reaches only the parent."""

    def __init__(self, name: str, start: CommandLine, directory: Path, log: Path | None) -> None:
        """Start it in `directory`. What it prints is added to `log`; None leaves it on the terminal."""
        self._name = name
        self._log = log
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
        with nullcontext() if log is None else log.open("ab") as output:
            self._log_begins = 0 if output is None else output.tell()
            self._process = subprocess.Popen(
                start.command,
                cwd=directory,
                env=start.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        self._stages = StageProcesses(self._process.pid)

    def check(self) -> None:
        """Raise ServerFailed, with the last errors of the log, when it has ended."""
        status = self._process.poll()
        if status is not None:
            how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
            raise self.failure(f"{self._name} ended by itself ({how})")

    def failure(self, problem: str) -> ServerFailed:
        """An error that says what happened, and shows the log's last errors, or else its last lines."""
        if self._log is None:
            return ServerFailed(f"{problem}; its own messages are above.")
        with self._log.open("rb") as log:
            log.seek(self._log_begins)
            lines = log.read().decode("utf-8", "replace").splitlines()
        shown = [line for line in lines if not _NO_ERROR.match(line)] or lines
        last = [line for line, _ in groupby(shown)][-_MAX_LINES:]
        return ServerFailed(
            f"{problem}; its log {self._log} says why:\n" + "\n".join(f"  {line}" for line in last)
        )

    def look_at_stages(self, may_have_changed: bool) -> Look:
        """Which of Triton's Python stages ended or stand still.

        may_have_changed: whether stages may have begun since the last look.
        """
        return self._stages.look(may_have_changed)

    def end(self, grace: float, interruption: Interruption) -> None:
        """Ask it to stop, wait up to `grace` seconds, and kill what is left of its group.

        A second interruption asks it again, and leaves it a moment.
        """
        deadline = time.monotonic() + grace
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        hurried = False
        while self._process.poll() is None and time.monotonic() < deadline:
            if interruption.urgent and not hurried:
                self._process.send_signal(signal.SIGINT)
                hurried, deadline = True, min(deadline, time.monotonic() + _HURRY_S)
            time.sleep(_POLL_S)
        self.kill()

    def kill(self) -> None:
        """End it and all processes of its group at once."""
        with suppress(ProcessLookupError):  # All of them had left.
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_TIMEOUT_S)


def end_with_parent() -> None:
    """Runs in the child: when the parent is killed without a chance to clean up, the child stops too."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
