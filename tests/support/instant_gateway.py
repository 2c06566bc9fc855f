"""A real gateway in front of a stand-in for Triton that answers at once."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from support.paths import ROOT
from support.servers import free_port, gateway_server
from support.waiting import wait_until


@dataclass(frozen=True)
class InstantGateway:
    url: str
    model: str
    server: psutil.Process

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextmanager
def instant_gateway(engine: Path, *options: str) -> Iterator[InstantGateway]:
    """The gateway serves the model of the folder `engine`."""
    port = free_port()
    stand_in = [sys.executable, str(Path(__file__).with_name("instant_triton.py")), str(port)]
    backend = ["--backend", "triton", "--triton-url", f"127.0.0.1:{port}", "--engines", engine.parent]
    process = subprocess.Popen(stand_in, cwd=ROOT)
    try:
        wait_until(lambda: _listens(port), timeout=60)
        with gateway_server(*backend, *options) as server:
            yield InstantGateway(server.url, engine.name, psutil.Process(server.process.pid))
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
