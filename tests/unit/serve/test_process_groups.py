"""The launch lines of Triton for engines of several GPUs, as tests/golden/triton_launch.txt has them."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command import called
from support.manifests import manifest
from support.paths import ROOT

from slipway.__main__ import app
from slipway.contract.errors import ServerFailed
from slipway.contract.manifest import FILE_NAME, Manifest
from slipway.contract.recipe import Limits
from slipway.serve import process_groups, tritonserver
from slipway.serve.ports import Ports
from slipway.serve.process_groups import OneProcess
from slipway.triton import config
from slipway.triton.repository import write_repository

# mpirun's, the others are Triton's. Upstream leaves --bind-to to how Open MPI is configured.
MPIRUN = {"--allow-run-as-root", "--bind-to", "--oversubscribe"}
GOLDEN = ROOT / "tests" / "golden" / "triton_launch.txt"
LIMITS = Limits(max_batch_size=4, max_input_len=63, max_seq_len=64, max_num_tokens=256)
# What triton_backend/scripts/launch_triton_server.py gives tritonserver.
UPSTREAM = {
    "--backend-config",
    "--cuda-memory-pool-byte-size",
    "--disable-auto-complete-config",
    "--enable-peer-access",
    "--exit-timeout-secs",
    "--grpc-port",
    "--http-port",
    "--load-model",
    "--metrics-port",
    "--model-control-mode",
    "--model-repository",
    "--pinned-memory-pool-byte-size",
}


def _engine(name: str, target: str = "tensorrt-llm", **parallel: Any) -> Manifest:
    made = manifest(LIMITS, 264).model_dump()
    return Manifest.model_validate(made | {"name": name, "target": target, "parallel": parallel})


def _repository(directory: Path, *engines: Manifest) -> Path:
    for engine in engines:
        folder = directory / "engines" / engine.name
        folder.mkdir(parents=True)
        (folder / FILE_NAME).write_text(engine.model_dump_json())
        write_repository(folder, directory / "repository")
    return directory / "repository"


def _line(repository: Path) -> str:
    """What --dry-run prints, without what differs from machine to machine."""
    done = called(app, "triton", "--dry-run", "--model-repository", str(repository))
    assert done.exit_code == 0, done.stderr
    of_the_machine = re.compile("(LD_LIBRARY_PATH|PATH|--backend-directory)=")
    kept = [word for word in shlex.split(done.stdout) if not of_the_machine.match(word)]
    line = shlex.join(kept).replace(str(repository), "REPOSITORY")
    return re.sub(r"\S*/bin/tritonserver", "TRITONSERVER", line)


CASES = {
    "one engine, tensor 2": [_engine("two", tensor=2)],
    "one engine, tensor 2 x pipeline 2": [_engine("four", tensor=2, pipeline=2)],
    "one engine of two GPUs beside an ONNX engine": [_engine("two", tensor=2), _engine("small", "onnx-cpu")],
    "two engines": [_engine("a", tensor=2, gpus=(0, 1)), _engine("b", gpus=(2,))],
}


def test_the_launch_lines_are_the_golden_ones(tmp_path: Path) -> None:
    made = []
    for number, (case, engines) in enumerate(CASES.items()):
        made.append(f"## {case}\n{_line(_repository(tmp_path / str(number), *engines))}\n")
    assert "".join(made) == GOLDEN.read_text()


def _lines() -> list[list[str]]:
    return [shlex.split(line) for line in GOLDEN.read_text().splitlines() if not line.startswith("#")]


def _options(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def test_every_option_is_one_of_tritonservers_and_upstream_gives_it_too(tmp_path: Path) -> None:
    # One server on one GPU is started with the options of all servers: where to listen, what may fail.
    repository = _repository(tmp_path, _engine("one"))
    plain = tritonserver.start(repository, "127.0.0.1", Ports())
    asked = [plain.command[0], "--help"]
    said = subprocess.run(asked, env=plain.environment, capture_output=True, text=True, check=False).stderr
    known = set(re.findall(r"^  (--[a-z-]+)", said, flags=re.MULTILINE))
    for words in _lines():
        assert _options(words) - _options(plain.command) <= UPSTREAM | MPIRUN
        assert _options(words) - MPIRUN <= known


def test_rank_0_serves_everything_and_the_others_the_engine_alone() -> None:
    for words, (case, engines) in zip(_lines(), CASES.items(), strict=True):
        if case == "two engines":
            continue
        ranks = shlex.join(words).split(" : ")
        assert len(ranks) == engines[0].parallel.world_size
        assert "--load-model" not in ranks[0]
        for number, rank in enumerate(ranks):
            assert f"shm-region-prefix-name=slipway_8000_{number}_" in rank
            assert rank.count("-n 1 ") == 1
        for rank in ranks[1:]:
            assert f"--model-control-mode=explicit --load-model={engines[0].name}.engine " in rank


def test_no_rank_is_bound_to_one_core() -> None:
    for words in _lines():
        assert words[words.index("--bind-to") + 1] == "none"
        assert words.index("--bind-to") < words.index("-n"), "it stands for every rank"


def test_engines_of_one_gpu_need_no_mpirun() -> None:
    assert process_groups.process_group([_engine("a"), _engine("b")]) == OneProcess()
    assert process_groups.process_group([]) == OneProcess()


def test_a_compiled_engine_gets_no_transfer_buffers_also_on_one_gpu(tmp_path: Path) -> None:
    start = tritonserver.start(_repository(tmp_path, _engine("one")), "127.0.0.1", Ports())
    assert start.environment["TRTLLM_KVCACHE_TRANSFER_BUFFER_SIZE"] == "0B"
    onnx = tritonserver.start(_repository(tmp_path / "onnx", _engine("s", "onnx-cpu")), "127.0.0.1", Ports())
    assert "TRTLLM_KVCACHE_TRANSFER_BUFFER_SIZE" not in onnx.environment


def test_the_image_has_the_variables_too() -> None:
    dockerfile = (ROOT / "docker" / "triton.Dockerfile").read_text()
    for name, value in process_groups.environment([_engine("one")]).items():
        assert f" {name}={value}" in dockerfile


@pytest.mark.parametrize("gpus", [(None, None), ((0, 1), None), ((0, 1), (1,))])
def test_engines_that_would_share_a_gpu_are_told_which_would_do(
    gpus: tuple[tuple[int, ...] | None, ...],
) -> None:
    engines = [_engine("a", tensor=2, gpus=gpus[0]), _engine("b", gpus=gpus[1])]
    with pytest.raises(ServerFailed, match=r"a and b share a server.* \[0, 1\] for a, \[2\] for b, and run"):
        process_groups.process_group(engines)


def test_the_gpus_of_an_engine_stand_where_the_orchestrator_reads_them(tmp_path: Path) -> None:
    repository = _repository(tmp_path, *CASES["two engines"])
    written = config.read(repository / "a.engine" / "config.pbtxt")
    assert written.parameters["gpu_device_ids"].string_value == "0,1"
    alone = _repository(tmp_path / "alone", _engine("c", tensor=2))
    assert "gpu_device_ids" not in config.read(alone / "c.engine" / "config.pbtxt").parameters


def test_without_mpirun_the_container_is_named(tmp_path: Path) -> None:
    repository = _repository(tmp_path, *CASES["one engine, tensor 2"])
    command = [sys.executable, "-m", "slipway", "serve", "--model-repository", str(repository)]
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "mpirun is not installed, which starts an engine of several GPUs; serve it in the" in done.stderr
