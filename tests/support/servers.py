"""Server processes for tests: on free ports, ready when the test begins, always stopped."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from support.paths import ROOT

from slipway.serve.child import end_with_parent

TAIL_BYTES = 5000

_given: set[int] = set()


def free_port() -> int:
    """A port that is free, and that these tests have not used yet."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port


@dataclass(frozen=True)
class Server:
    """A server that runs: its process and the address that it answers at."""

    process: subprocess.Popen[bytes]
    url: str


@contextmanager
def running(
    command: list[str],
    ready_url: str,
    timeout: float = 120,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    cwd: Path = ROOT,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server in `cwd`, wait until `ready_url` answers 200, and end it with its children.

    log: the file for its output; by default pytest captures it and shows it with a test that fails.
    """
    with log.open("wb") if log else nullcontext() as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            start_new_session=True,
            stdout=output,
            stderr=output,
            # Also where the tests are killed, as a process of `pytest -n` is by Ctrl-C.
            preexec_fn=end_with_parent,
        )
    try:
        wait_until_ready(process, ready_url, timeout, log)
        yield process
    finally:
        stop(process)


@contextmanager
def gateway_server(
    *options: object,
    ready: str = "/health/ready",
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Iterator[Server]:
    """`slipway gateway` on a free port, ready when `ready` answers 200."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "slipway", "gateway", "--port", str(port), *map(str, options)]
    with running(command, f"{url}{ready}", env=env, log=log) as process:
        yield Server(process, url)


@dataclass(frozen=True)
class TritonServer:
    """A Triton that runs: the addresses of its HTTP and metrics ports, and of gRPC without a scheme."""

    process: subprocess.Popen[bytes]
    http: str
    grpc: str
    metrics: str


@contextmanager
def triton_server(
    repository: Path,
    ready: str = "/v2/health/ready",
    grpc_port: int | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Iterator[TritonServer]:
    """`slipway triton` on free ports, ready when `ready` answers 200.

    ready: a path of Triton, or the whole address of a server in front of it.
    """
    ports = {"http": free_port(), "grpc": grpc_port or free_port(), "metrics": free_port()}
    http, metrics = (f"http://127.0.0.1:{ports[name]}" for name in ("http", "metrics"))
    options = [f"--{name}-port={port}" for name, port in ports.items()]
    command = [sys.executable, "-m", "slipway", "triton", f"--model-repository={repository}", *options]
    with running(command, ready if "://" in ready else f"{http}{ready}", env=env, log=log) as process:
        yield TritonServer(process, http, f"127.0.0.1:{ports['grpc']}", metrics)


@contextmanager
def gateway_and_triton(
    engines: Path,
    repository: Path,
    *options: object,
    ready: str = "/health/ready",
    env: Mapping[str, str] | None = None,
) -> Iterator[tuple[Server, TritonServer]]:
    """A gateway in front of Triton, ready when the gateway's path `ready` answers 200.

    engines: the folder of the engines. repository: what Triton mounts. options: of the gateway.
    env: variables of Triton.
    """
    grpc = free_port()
    backend = ["--backend", "triton", "--triton-url", f"127.0.0.1:{grpc}", "--engines", engines]
    # The gateway first: it becomes ready when Triton is.
    with (
        gateway_server(*backend, *options, ready="/health/live") as gateway,
        triton_server(repository, f"{gateway.url}{ready}", grpc, env) as triton,
    ):
        yield gateway, triton


def wait_until_ready(
    process: subprocess.Popen[bytes], url: str, timeout: float, log: Path | None = None
) -> None:
    """Wait until `url` answers 200; a failure shows the end of `log`."""
    deadline = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if httpx.get(url, timeout=2).status_code == 200:
                return
        time.sleep(0.1)
    ended = "" if process.poll() is None else f" and ended with {process.returncode}"
    raise AssertionError(f"{process.args!r} was not ready at {url} within {timeout:g} s{ended}\n{tail(log)}")


def tail(log: Path | None) -> str:
    """The end of a log, for the message of a test that fails."""
    return log.read_text(errors="replace")[-TAIL_BYTES:] if log else ""


def stop(process: subprocess.Popen[bytes], grace: float = 20) -> None:
    """Interrupt the process and its group as Ctrl-C does; kill what is left after `grace` seconds."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
