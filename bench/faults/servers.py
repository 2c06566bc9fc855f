"""Servers of the sample engine, started to be broken: the command's own, on ports of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.faults.clients import Clients
from bench.faults.target import Target
from slipway.serve import tritonserver
from slipway.serve.ports import Ports

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "engines" / "smollm2-135m-int4"
MODEL = ENGINE.name
_PORT = 19000
_TRITON = Ports(_PORT + 1, _PORT + 2, _PORT + 3)
_START_S = 120.0

LOCAL = "slipway gateway"
SERVE = "slipway serve"
# A Triton that nothing starts again.
OWN_TRITON = "slipway gateway, Triton of your own"


@dataclass(frozen=True)
class Server:
    """A server that is ready. root: the process that its parts are below."""

    process: "subprocess.Popen[bytes]"
    root: psutil.Process
    clients: Clients
    target: Target = field(repr=False)

    def end(self) -> int:
        """Ask it to end as a user does, and return its exit status."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait()


@contextmanager
def server(kind: str, repository: Path, options: Sequence[str] = ()) -> Iterator[Server]:
    """A server, once it is ready. repository: of Triton. options: of the gateway."""
    url = f"http://127.0.0.1:{_PORT}"
    arguments = [*_arguments(kind, repository), f"--port={_PORT}", *options]
    with ExitStack() as stack:
        if kind == OWN_TRITON:
            stack.enter_context(_own_triton(repository))
        process = subprocess.Popen(
            [sys.executable, "-m", "slipway", *arguments], cwd=ROOT, stdout=subprocess.DEVNULL
        )
        root = psutil.Process() if kind == OWN_TRITON else psutil.Process(process.pid)
        metrics = f"http://127.0.0.1:{_TRITON.metrics}/metrics" if kind != LOCAL else None
        made = Server(process, root, Clients(url, MODEL), Target(url, MODEL, metrics))
        stack.callback(made.end)
        deadline = time.monotonic() + _START_S
        while not made.clients.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{kind} is not ready; its own messages are above.")
            time.sleep(0.1)
        yield made


def _arguments(kind: str, repository: Path) -> list[str]:
    if kind == LOCAL:
        return ["gateway", "--engine", str(ENGINE)]
    if kind == OWN_TRITON:
        triton = ["--backend=triton", f"--triton-url=127.0.0.1:{_TRITON.grpc}", f"--engines={ENGINE.parent}"]
        return ["gateway", *triton]
    ports = {"http": _TRITON.http, "grpc": _TRITON.grpc, "metrics": _TRITON.metrics}
    triton = [f"--triton-{name}-port={port}" for name, port in ports.items()]
    return ["serve", f"--model-repository={repository}", *triton]


@contextmanager
def _own_triton(repository: Path) -> Iterator[None]:
    start = tritonserver.start(repository, "127.0.0.1", _TRITON)
    process = subprocess.Popen(
        start.command,
        env=start.environment,
        cwd=repository.parent,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # it waits for the answers of a dead stage, in vain
        process.wait()
        tritonserver.free_memory(_TRITON)
