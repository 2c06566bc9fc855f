"""A gateway in front of a Triton that nothing starts again, with the stub of a stage killed."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.servers import free_port, gateway_server, stop, wait_until_ready

from bench.faults import processes
from bench.faults.clients import Clients
from slipway.contract.stage_names import engine_stage
from slipway.serve import tritonserver
from slipway.serve.ports import Ports
from slipway.triton.repository import write_repository


@pytest.fixture
def clients(engine_dir: Path, tmp_path: Path) -> Iterator[tuple[Clients, psutil.Process]]:
    repository = tmp_path / "repository"
    write_repository(engine_dir, repository)
    ports = Ports(free_port(), free_port(), free_port())
    start = tritonserver.start(repository, "127.0.0.1", ports)
    options = ["--backend", "triton", "--triton-url", f"127.0.0.1:{ports.grpc}", "--engines"]
    with gateway_server(*options, engine_dir.parent, ready="/health/live") as gateway:
        process = subprocess.Popen(start.command, env=start.environment, cwd=tmp_path, start_new_session=True)
        try:
            wait_until_ready(process, f"{gateway.url}/health/ready", 120)
            yield Clients(gateway.url, engine_dir.name), psutil.Process(process.pid)
        finally:
            os.killpg(process.pid, 9)  # Triton waits for the answers of the dead stage, in vain.
            stop(process)


def test_streams_of_a_dead_stage_end_and_the_model_is_not_ready_though_triton_says_so(
    clients: tuple[Clients, psutil.Process],
) -> None:
    asking, triton = clients
    victim = processes.stub(engine_stage(asking.model))(triton)
    seen = asking.watch(victim.kill, streams=2, patience_s=10)
    assert set(seen.ends) == {"engine_failed"}
    assert seen.streams_s is not None
    assert seen.streams_s < 25, "a fifth of that, on a machine that does nothing else"
    assert seen.unready_s is not None
    assert seen.unready_s < 25
    assert (seen.answer_s, seen.ready_s) == (None, None)
