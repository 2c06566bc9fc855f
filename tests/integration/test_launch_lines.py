"""The launch lines of engines of several GPUs under a real mpirun, with a stand-in for the C++ backend that
does its MPI calls (tests/support/mpi_backend.c).
"""

import ctypes.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import servers
from support.paths import ROOT
from support.trtllm_repository import compiled_engine, renamed

from slipway.contract.recipe import Parallel
from slipway.serve import tritonserver
from slipway.serve.ports import Ports
from slipway.triton.repository import write_repository

MPI = "libmpi.so.40"  # of Open MPI 4
SOURCE = ROOT / "tests" / "support" / "mpi_backend.c"
CC = shutil.which("cc", path=os.defpath)

pytestmark = pytest.mark.skipif(
    CC is None or shutil.which("mpirun") is None or ctypes.util.find_library("mpi") != MPI,
    reason="it needs mpirun of Open MPI 4 and a C compiler; test_process_groups.py has the lines themselves",
)


def compiled(output: Path, *options: str) -> Path:
    assert CC is not None
    environment = {**os.environ, "PATH": os.defpath}
    subprocess.run([CC, *options, SOURCE, "-o", output, "-ldl", "-lpthread"], check=True, env=environment)
    return output


def started(directory: Path, model: str) -> str:
    """Start the repository in `directory`, wait until `model` is ready, stop it; what it printed."""
    repository = directory / "model_repository"
    tritonserver.start(repository, "127.0.0.1", Ports())  # makes the folder of the backends
    [backends] = (directory / ".cache").glob("triton-backends-*")
    (backends / "tensorrtllm").mkdir()
    compiled(backends / "tensorrtllm" / "libtriton_tensorrtllm.so", "-shared", "-fPIC")
    ports = [servers.free_port() for _ in range(3)]
    names = ("http", "grpc", "metrics")
    options = [f"--{name}-port={port}" for name, port in zip(names, ports, strict=True)]
    command = [sys.executable, "-m", "slipway", "triton", f"--model-repository={repository}", *options]
    log = directory / "log"
    worker = {"STAND_IN_WORKER": str(compiled(directory / "worker", "-DWORKER"))}
    with servers.running(
        command, f"http://127.0.0.1:{ports[0]}/v2/models/{model}/ready", env=worker, log=log
    ):
        return log.read_text(errors="replace")


def test_two_ranks_of_one_engine_meet_and_the_first_serves_it(engine_dir: Path, tmp_path: Path) -> None:
    engine = compiled_engine(engine_dir, tmp_path / "engines", parallel=Parallel(tensor=2))
    write_repository(engine, tmp_path / "model_repository")
    said = started(tmp_path, engine.name)
    for rank in ("rank 0", "rank 1"):
        assert said.count(f"stand-in: {rank} of 2 met the others, sum 3") == 1


def test_two_engines_spawn_workers_also_on_fewer_cores(engine_dir: Path, tmp_path: Path) -> None:
    engine = compiled_engine(engine_dir, tmp_path / "engines", parallel=Parallel(tensor=2, gpus=(0, 1)))
    other = renamed(engine, tmp_path / "engines", "second", parallel=Parallel(tensor=2, gpus=(2, 3)))
    for each in (engine, other):
        write_repository(each, tmp_path / "model_repository")
    said = started(tmp_path, "second")
    assert said.count("stand-in: the orchestrator met the others, sum 4") >= 1
    assert said.count("stand-in: worker 1 of 2 met the others, sum 4") >= 1
