"""A real gateway over a real engine, once in a worker process and once behind a real Triton."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from openai import AsyncOpenAI, OpenAI
from prometheus_client.parser import text_string_to_metric_families
from servers import free_port, running

from ensemble.repository import write_repository


@dataclass(frozen=True)
class Gateway:
    url: str
    metrics_url: str
    model: str

    def client(self) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60)

    def async_client(self) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=120)

    def post(self, path: str, **options: object) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", timeout=60, **options)

    def running_requests(self) -> int:
        """What the engine itself counts."""
        families = text_string_to_metric_families(httpx.get(self.metrics_url).text)
        (value,) = (
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == "slipway_running_requests" and sample.labels["model"] == self.model
        )
        return int(value)


@pytest.fixture(scope="session", params=["local", "triton"])
def gateway(
    request: pytest.FixtureRequest, engine_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    start = [sys.executable, "-m", "gateway", "--port", str(port)]
    ready = f"{url}/health/ready"
    with ExitStack() as servers:
        if request.param == "local":
            servers.enter_context(running([*start, "--engine", str(engine_dir)], ready))
            yield Gateway(url, f"{url}/metrics", engine_dir.name)
            return
        repository = tmp_path_factory.mktemp("triton") / "model_repository"
        write_repository(engine_dir, repository)
        http, grpc, metrics = free_port(), free_port(), free_port()
        triton = [sys.executable, "-m", "deploy", "triton", "--model-repository", str(repository)]
        ports = ["--http-port", str(http), "--grpc-port", str(grpc), "--metrics-port", str(metrics)]
        # The gateway first: it becomes ready when Triton is.
        behind = [*start, "--backend", "triton", "--triton-url", f"127.0.0.1:{grpc}"]
        engines = ["--engines", str(engine_dir.parent)]
        servers.enter_context(running([*behind, *engines], f"{url}/health/live"))
        servers.enter_context(running([*triton, *ports], ready))
        yield Gateway(url, f"http://127.0.0.1:{metrics}/metrics", engine_dir.name)


@pytest.fixture
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with gateway.client() as client:
        yield client
