"""A server started by `deploy.serve`: its process, its log, its end."""

import ctypes
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from slipway.contract.errors import ServerFailed
from slipway.serve.interruption import Interruption
from slipway.serve.tritonserver import Start

_LINES_SHOWN = 15
_POLL_S = 0.05
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Child:
    """One server process in a group of its own, so that the terminal's Ctrl-C reaches only the parent."""

    def __init__(self, name: str, start: Start, directory: Path, log: Path) -> None:
        """Start it in `directory`; what it prints goes to `log`."""
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                start.command,
                cwd=directory,
                env=start.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def check(self) -> None:
        """Raise ServerFailed, with the last lines of the log, when it has ended."""
        status = self._process.poll()
        if status is None:
            return
        how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES_SHOWN:]
        raise ServerFailed(
            f"{self.name} ended by itself ({how}); the end of its log {self.log} says why:\n"
            + "\n".join(f"  {line}" for line in lines)
        )

    def end(self, grace: float, interruption: Interruption) -> None:
        """Ask it to stop, wait up to `grace` seconds, and kill what is left of its group.

        Interrupted once more, it is killed at once.
        """
        deadline = time.monotonic() + grace
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        while self._process.poll() is None and time.monotonic() < deadline and not interruption.urgent:
            time.sleep(_POLL_S)
        self._kill_group()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError):  # All of them had left.
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _end_with_parent() -> None:
    """Runs in the child: when the parent is killed without a chance to clean up, the child stops too."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
