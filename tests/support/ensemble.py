"""The real Triton with the ensemble of an engine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.servers import TritonServer, triton_server
from support.triton_calls import gauge

ENDLESS = {"max_tokens": 8000, "end_id": -1, "stream": True, "text_input": "Once upon a time"}


@dataclass(frozen=True)
class Triton(TritonServer):
    model: str

    def running(self) -> float:
        return gauge(self.metrics, "slipway_running_requests", self.model)

    def waiting(self) -> float:
        return gauge(self.metrics, "slipway_waiting_requests", self.model)


@contextmanager
def serving(model: str, repository: Path, log: Path | None = None) -> Iterator[Triton]:
    with triton_server(repository, f"/v2/models/{model}/ready", log=log) as server:
        yield Triton(server.process, server.http, server.grpc, server.metrics, model)
