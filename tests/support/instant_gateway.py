"""A real gateway in front of a stand-in for Triton that answers at once."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from support.paths import ROOT
from support.servers import free_port, running


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
    stand_in = [sys.executable, str(Path(__file__).with_name("instant_triton.py")), str(triton)]
    gateway = [sys.executable, "-m", "slipway", "gateway", "--backend", "triton", "--port", str(port)]
    engines = ["--triton-url", f"127.0.0.1:{triton}", "--engines", str(engine.parent)]
    process = subprocess.Popen(stand_in, cwd=ROOT)
    try:
        _wait_until_it_listens(triton)
        with running([*gateway, *engines, *options], f"{url}/health/ready") as server:
            yield InstantGateway(port, engine.name, psutil.Process(server.pid))
    finally:
        process.kill()
        process.wait()


def _wait_until_it_listens(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise AssertionError("the stand-in does not listen")
