"""Real server processes for tests: free ports, waited for by readiness, always stopped."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import httpx
from support.paths import ROOT

_given: set[int] = set()


def free_port() -> int:
    """A port that nobody has, and that no other caller of these tests was given."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port


@contextmanager
def running(
    command: list[str],
    ready_url: str,
    timeout: float = 120,
    env: dict[str, str] | None = None,
    log: Path | None = None,
    cwd: Path = ROOT,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server in `cwd`, wait until `ready_url` answers 200, and end it with its children.

    log: where its standard error goes; by default to that of the tests.
    """
    with log.open("wb") if log else nullcontext() as errors:
        process = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **(env or {})}, start_new_session=True, stderr=errors
        )
    try:
        wait_until_ready(process, ready_url, timeout)
        yield process
    finally:
        stop(process)


def wait_until_ready(process: subprocess.Popen[bytes], url: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args} ended with {process.returncode} before it was ready"
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{process.args} was not ready at {url} within {timeout} s")


def stop(process: subprocess.Popen[bytes], grace: float = 20) -> None:
    """Interrupt the process and its group as Ctrl-C does; what is left after `grace` seconds is killed."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
