"""`slipway serve` with parts of it killed, as its clients see it."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from support.paths import ROOT
from support.servers import free_port, stop, wait_until_ready

from bench.faults import processes
from bench.faults.clients import Clients, StreamEnd
from slipway.contract.stage_names import engine_stage, postprocessing, preprocessing
from slipway.triton.repository import write_repository

# Generous for a machine that does other work too.
PATIENCE_S = 90.0
DRAIN_S = 1.0
STAGES = (preprocessing, engine_stage, postprocessing)


@dataclass(frozen=True)
class Serving:
    process: subprocess.Popen[bytes]
    clients: Clients
    triton_port: int

    def shared_memory(self) -> list[Path]:
        return list(Path("/dev/shm").glob(f"slipway_{self.triton_port}_*"))

    def children(self) -> psutil.Process:
        return psutil.Process(self.process.pid)


@pytest.fixture(scope="module")
def serving(engine_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One server for all: a part that dies soon after it died waits a little longer each time."""
    place = tmp_path_factory.mktemp("serve")
    write_repository(engine_dir, place / "repository")
    port, *others = (free_port() for _ in range(4))
    names = ("http", "grpc", "metrics")
    options = [f"--triton-{name}-port={other}" for name, other in zip(names, others, strict=True)]
    options += [f"--port={port}", f"--model-repository={place / 'repository'}", f"--drain-timeout={DRAIN_S}"]
    log = place / "log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "slipway", "serve", *options]
        process = subprocess.Popen(
            command, cwd=ROOT, start_new_session=True, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until_ready(process, f"http://127.0.0.1:{port}/health/ready", 120, log)
        yield Serving(process, Clients(f"http://127.0.0.1:{port}", engine_dir.name), others[0])
    finally:
        stop(process)
    print(log.read_text(errors="replace"))


PARTS = {
    "tritonserver": lambda model: processes.triton,
    "preprocessing": lambda model: processes.stub(preprocessing(model)),
    "engine": lambda model: processes.stub(engine_stage(model)),
    "postprocessing": lambda model: processes.stub(postprocessing(model)),
    "gateway": lambda model: processes.gateway,
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_killed_ends_its_streams_with_an_error_and_is_started_again(
    serving: Serving, part: str
) -> None:
    victim = PARTS[part](serving.clients.model)(serving.children())
    seen = serving.clients.watch(victim.kill, streams=2, patience_s=PATIENCE_S)
    # A gateway cannot say that it was killed; its clients see a connection that broke.
    assert set(seen.ends) <= ({"cut"} if part == "gateway" else {"engine_failed", "model_unavailable"})
    assert seen.unready_s is not None
    assert seen.unready_s < 25, "a fifth of that, on a machine that does nothing else"
    assert seen.streams_s is not None
    assert seen.streams_s < 25
    assert seen.answer_s is not None
    assert seen.wrong == 0


def test_sigterm_ends_what_runs_after_the_drain_and_the_engine_after_the_gateway(serving: Serving) -> None:
    end, started = StreamEnd(), threading.Event()
    reader = threading.Thread(target=serving.clients.stream, args=(end, started))
    reader.start()
    assert started.wait(60)
    assert len(serving.shared_memory()) == len(STAGES), "that of those which were killed is free"
    family = serving.children().children(recursive=True)
    os.kill(serving.process.pid, signal.SIGTERM)
    reader.join(60)
    assert end.how == "server_stopping", "an engine that ended first would say so"
    assert serving.process.wait(60) == 0
    assert not psutil.wait_procs(family, timeout=60)[1]
    assert not serving.shared_memory()
