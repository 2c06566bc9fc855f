"""A real gateway before a stand-in for Triton that answers at once, for tests of all but the engine."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from servers import free_port, running


@dataclass(frozen=True)
class InstantGateway:
    port: int
    model: str
    server: psutil.Process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def instant_gateway(engine: Path, *options: str) -> Iterator[InstantGateway]:
    port, triton = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    stand_in = [sys.executable, "-m", "bench.instant_triton", str(triton)]
    gateway = [sys.executable, "-m", "gateway", "--backend", "triton", "--port", str(port)]
    engines = ["--triton-url", f"127.0.0.1:{triton}", "--engines", str(engine.parent)]
    with (
        # The gateway first: the stand-in says nothing over HTTP, and is ready when the gateway is.
        running([*gateway, *engines, *options], f"{url}/health/live") as server,
        running(stand_in, f"{url}/health/ready"),
    ):
        yield InstantGateway(port, engine.name, psutil.Process(server.pid))
