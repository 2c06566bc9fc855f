"""The start of the servers: waits until each one answers, up to a deadline."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import httpx
from rich.console import Console

from slipway.contract.errors import ServerFailed
from slipway.serve.child import Child
from slipway.serve.interruption import Interruption

_POLL_S = 0.2
_REQUEST_TIMEOUT_S = 2.0
# Triton notices at once when a stage fails to load, but not when the stage's process never began.
_DEAD_FOR_S = 2.0


class Startup:
    """Waits for servers, and shows what it waits for.

    timeout: seconds for all servers together.
    """

    def __init__(self, console: Console, interruption: Interruption, timeout: float) -> None:
        self._console = console
        self._interruption = interruption
        self._timeout = timeout
        self._began = time.monotonic()
        self._dead_since: dict[int, float] = {}

    def wait(self, title: str, url: str, children: Sequence[Child]) -> None:
        """Wait until `url`, of the last of the children, answers 200.

        Raises ServerFailed when one of them ends, when Triton waits for a stage that is dead, and at the
        deadline. Raises Interrupted.
        """
        child, shown = children[-1], ""
        if not self._console.is_terminal:
            self._console.print(f"{title} (log: {short(child.log)})")
        with self._console.status(title) as status:
            while True:
                for server in children:
                    server.check()
                reply = _get(url)
                if reply is not None and reply.status_code == httpx.codes.OK:
                    return
                if (reason := _reason(reply)) not in ("", shown):
                    self._console.print(f"Not ready: {reason}")
                    shown = reason
                self._check_progress(child)
                status.update(f"{title} ({self._elapsed():.0f} s; log: {short(child.log)})")
                self._interruption.pause(_POLL_S)

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    @staticmethod
    def _give_up(child: Child, problem: str) -> NoReturn:
        failure = child.failure(problem)
        child.kill()  # Triton hears no signal while it loads.
        raise failure

    def _check_progress(self, child: Child) -> None:
        elapsed = self._elapsed()
        self._dead_since = {pid: self._dead_since.get(pid, elapsed) for pid in child.dead_stages()}
        if any(elapsed - since > _DEAD_FOR_S for since in self._dead_since.values()):
            self._give_up(
                child, "The process of a Python stage ended before it began, and Triton waits for it"
            )
        if elapsed > self._timeout:
            self._give_up(
                child,
                f"{child.name} is not ready after {self._timeout:.0f} s; if it only needs longer, "
                "give it more with --ready-timeout SECONDS",
            )


def ask(method: str, url: str) -> httpx.Response:
    """Ask a server on this machine, and so past a proxy that the environment names.

    Raises ServerFailed when it does not answer.
    """
    try:
        return httpx.request(method, url, timeout=_REQUEST_TIMEOUT_S, trust_env=False)
    except httpx.TransportError as error:
        raise ServerFailed(f"{url} does not answer ({error or type(error).__name__}).") from None


def short(path: Path) -> Path:
    """Relative to the working directory where it lies in there."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _get(url: str) -> httpx.Response | None:
    with suppress(ServerFailed):  # It does not listen yet.
        return ask("GET", url)
    return None


def _reason(reply: httpx.Response | None) -> str:
    """The gateway's sentence; Triton gives none."""
    try:
        return str(reply.json()["error"]["message"]) if reply is not None else ""
    except (ValueError, KeyError, TypeError):
        return ""
