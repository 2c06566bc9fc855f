"""A real gateway and a real engine: in its own process, behind Triton, and as TensorRT-LLM behind Triton.

The stand-in for TensorRT-LLM's C++ backend is the same ONNX engine with that backend's behaviour and gaps
(`trtllm_backend`). So the same expectations hold for every answer.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from openai import OpenAI
from support import trtllm_repository
from support.gateways import Gateway
from support.servers import gateway_and_triton, gateway_server

from slipway.contract.manifest import Manifest
from slipway.triton.repository import write_repository

# What each engine cannot do, by the names of the fields in a chat.
LACKS = {"local": (), "triton": (), "trtllm": ("min_p", "top_logprobs", "prompt_logprobs", "max_tokens")}


@pytest.fixture(scope="session", params=LACKS)
def gateway(
    request: pytest.FixtureRequest, engine_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    backend = request.param
    manifest = Manifest.read(engine_dir)
    limits, length = manifest.limits, manifest.default_max_tokens
    with ExitStack() as servers:
        if backend == "local":
            server = servers.enter_context(gateway_server("--engine", engine_dir))
            served = (server.url, f"{server.url}/metrics", engine_dir.name, limits, server.process.pid)
            yield Gateway(*served, default_max_tokens=length)
            return
        place = tmp_path_factory.mktemp(backend)
        engine, repository = _engine_and_repository(backend, engine_dir, place)
        server, triton = servers.enter_context(gateway_and_triton(engine.parent, repository))
        metrics, pid, lacks = f"{triton.metrics}/metrics", triton.process.pid, frozenset(LACKS[backend])
        served = (server.url, metrics, engine.name, limits, pid)
        yield Gateway(*served, lacks=lacks, default_max_tokens=length)


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
