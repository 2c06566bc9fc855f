"""A real gateway and a real engine: in its own process, behind Triton, and as TensorRT-LLM behind Triton.

The stand-in for TensorRT-LLM's C++ backend is the same ONNX engine with that backend's behaviour and gaps
(`trtllm_backend`). So the same expectations hold for every answer.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from openai import OpenAI
from support import trtllm_repository
from support.gateways import Gateway
from support.servers import free_port, running

from slipway.contract.manifest import Manifest
from slipway.triton.repository import write_repository

# What each engine cannot do, by the names of the fields in a chat.
LACKS = {"local": (), "triton": (), "trtllm": ("min_p", "top_logprobs")}


@pytest.fixture(scope="session", params=LACKS)
def gateway(
    request: pytest.FixtureRequest, engine_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    backend = request.param
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    start = [sys.executable, "-m", "slipway", "gateway", "--port", str(port)]
    ready = f"{url}/health/ready"
    limits = Manifest.read(engine_dir).limits
    with ExitStack() as servers:
        if backend == "local":
            server = servers.enter_context(running([*start, "--engine", str(engine_dir)], ready))
            yield Gateway(url, f"{url}/metrics", engine_dir.name, limits, server.pid)
            return
        place = tmp_path_factory.mktemp(backend)
        engine, repository = _engine_and_repository(backend, engine_dir, place)
        http, grpc, metrics = free_port(), free_port(), free_port()
        triton = [sys.executable, "-m", "slipway", "triton", "--model-repository", str(repository)]
        ports = ["--http-port", str(http), "--grpc-port", str(grpc), "--metrics-port", str(metrics)]
        # The gateway first: it becomes ready when Triton is.
        behind = [*start, "--backend", "triton", "--triton-url", f"127.0.0.1:{grpc}"]
        engines = ["--engines", str(engine.parent)]
        servers.enter_context(running([*behind, *engines], f"{url}/health/live"))
        server = servers.enter_context(running([*triton, *ports], ready))
        metrics_url = f"http://127.0.0.1:{metrics}/metrics"
        yield Gateway(url, metrics_url, engine.name, limits, server.pid, lacks=frozenset(LACKS[backend]))


def _engine_and_repository(backend: str, onnx: Path, place: Path) -> tuple[Path, Path]:
    """Return the engine that the gateway serves, and the repository that Triton mounts."""
    repository = place / "model_repository"
    if backend == "triton":
        write_repository(onnx, repository)
        return onnx, repository
    engine = trtllm_repository.compiled_engine(onnx, place / "engines")
    # Under the same name, so that its gauges have the name of the engine.
    trtllm_repository.stand_in(engine, trtllm_repository.renamed(onnx, place, engine.name), repository)
    return engine, repository


@pytest.fixture
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with gateway.client() as client:
        yield client
