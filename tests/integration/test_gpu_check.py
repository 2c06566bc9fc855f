"""`make gpu-check` where there is no GPU, and its whole way with stand-ins for GPU and Docker."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from support import tiny_checkpoints as tiny
from support import trtllm_stand_in
from support.paths import ROOT
from support.servers import free_port

from build.checkpoint import reference
from build.trtllm import container
from slipway.contract.recipe_file import read_recipe

COMMAND = (sys.executable, "-m", "build", "gpu-check")
# `up` serves an ONNX engine of the same name as the recipe's, which is all that the check sees of it.
DOCKER = """#!{python}
import os, sys
with open({asked!r}, "a") as asked:
    print(*sys.argv[1:], file=asked)
if "run" in sys.argv and {fails!r}:
    sys.exit(3)
if "up" in sys.argv:
    os.execv({python!r}, [{python!r}, "-m", "slipway", "gateway", "--engine", {engine!r}, "--port", {port!r}])
"""


def _run(environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def _docker(directory: Path, engine: Path, port: int = 0, fails: bool = False) -> Path:
    """Puts it where `directory`'s stand-ins are; what it was asked comes to the file that is returned."""
    asked, program = directory / "asked", directory / "bin" / "docker"
    values = {"python": sys.executable, "asked": str(asked), "engine": str(engine), "port": str(port)}
    program.write_text(DOCKER.format(**values, fails=fails))
    program.chmod(0o755)
    return asked


def test_without_a_gpu_it_says_so_and_does_nothing(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    done = _run({**os.environ, "PATH": str(tmp_path)}, "--report", str(report))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "The check needs an NVIDIA GPU, and here is none" in done.stderr
    assert "nvidia-smi is not installed" in done.stderr
    assert "make test" in done.stderr
    assert not report.exists()


def test_without_docker_it_says_what_to_install(tmp_path: Path) -> None:
    environment = trtllm_stand_in.write(tmp_path) | {"PATH": str(tmp_path / "bin")}
    done = _run(environment, "--report", str(tmp_path / "report.md"))
    assert done.returncode == 1
    assert "`docker compose` is not here; install Docker" in done.stderr


def test_a_build_that_fails_ends_it(tmp_path: Path, engine_dir: Path) -> None:
    environment = trtllm_stand_in.write(tmp_path)
    asked = _docker(tmp_path, engine_dir, fails=True)
    report = tmp_path / "report.md"
    done = _run(environment, "--report", str(report))
    assert done.returncode == 1
    assert "build engine engines/smollm2-135m-trtllm-bf16.yaml ended with 3" in done.stderr
    assert "up triton" not in asked.read_text()
    assert not report.exists()


def test_transformers_is_asked_without_the_penalties_of_the_checkpoint(tmp_path: Path) -> None:
    plain, penal = tiny.write(tmp_path / "plain"), tiny.write(tmp_path / "penal")
    penalties = {"repetition_penalty": 5.0, "eos_token_id": 257, "do_sample": True}
    (penal / "generation_config.json").write_text(json.dumps(penalties))
    asked = ["The sea", "One, two, three"]
    assert reference.greedy_answers(penal, asked, 12, print) == reference.greedy_answers(
        plain, asked, 12, print
    )


def test_the_report_holds_the_answers_against_the_checkpoint_and_the_speed(
    tmp_path: Path, engine_dir: Path
) -> None:
    environment = trtllm_stand_in.write(tmp_path)
    port, report = free_port(), tmp_path / "report.md"
    asked = _docker(tmp_path, engine_dir, port)
    options = ["--recipe", "engines/smollm2-135m-int4.yaml", "--max-tokens", "2", "--duration", "1"]
    done = _run(environment, *options, "--url", f"http://127.0.0.1:{port}", "--report", str(report))
    assert done.returncode == 0, done.stderr
    said = asked.read_text().splitlines()
    user = f"{os.getuid()}:{os.getgid()}"
    compose = "compose --profile gpu"
    recipe = "engines/smollm2-135m-int4.yaml"
    built = " ".join(container.arguments(read_recipe(ROOT / recipe), [recipe]))
    assert said == [
        "compose version",
        f"compose run --rm --user {user} {built}",
        f"{compose} up triton",
        f"{compose} down",
    ]
    page = report.read_text()
    assert "on NVIDIA L4 (8.9)" in page
    [row] = [line for line in page.splitlines() if line.startswith("| smollm2-135m-int4 |")]
    figures = re.search(r"\| (\d) of 8 \| \d of 8 \| \d+% \| (\d+) \| [\d.]+ ms", row)
    assert figures is not None, row
    same_first, tokens_per_s = figures.groups()
    assert int(same_first) >= 5, row
    assert int(tokens_per_s) > 0
