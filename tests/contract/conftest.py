"""A real gateway over a real engine, once in a worker process and once behind a real Triton."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from gateways import Gateway
from openai import OpenAI
from servers import free_port, running

from engines.manifest import Manifest
from ensemble.repository import write_repository


@pytest.fixture(scope="session", params=["local", "triton"])
def gateway(
    request: pytest.FixtureRequest, engine_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    start = [sys.executable, "-m", "gateway", "--port", str(port)]
    ready = f"{url}/health/ready"
    limits = Manifest.read(engine_dir).limits
    with ExitStack() as servers:
        if request.param == "local":
            server = servers.enter_context(running([*start, "--engine", str(engine_dir)], ready))
            yield Gateway(url, f"{url}/metrics", engine_dir.name, limits, server.pid)
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
        server = servers.enter_context(running([*triton, *ports], ready))
        yield Gateway(url, f"http://127.0.0.1:{metrics}/metrics", engine_dir.name, limits, server.pid)


@pytest.fixture
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with gateway.client() as client:
        yield client
