"""The wheel serves an engine folder where there is no checkout."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import httpx
import pytest
from support.paths import ROOT
from support.servers import free_port, running

from slipway.triton.repository import write_repository


def _run(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def slipway(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command in a fresh environment with the wheel, and the dependencies of the tests' environment."""
    directory = tmp_path_factory.mktemp("wheel")
    _run(
        sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", directory, ROOT
    )
    [wheel] = directory.glob("slipway-*.whl")
    environment = directory / "environment"
    python = environment / "bin" / "python"
    _run(sys.executable, "-m", "venv", "--without-pip", environment)
    _run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel)
    installed = Path(_run(python, "-P", "-c", "import slipway; print(slipway.__file__)").strip()).parent
    assert installed.is_relative_to(environment)
    # A folder named in a .pth file counts without the .pth files in it, so without the checkout.
    (installed.parent / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin" / "slipway"


@pytest.fixture
def folder(engine_dir: Path, tmp_path: Path) -> Path:
    """A folder that holds the engine and its Triton models, and nothing else."""
    engine = shutil.copytree(engine_dir, tmp_path / "engines" / engine_dir.name)
    write_repository(Path(engine), tmp_path / "model_repository")
    return tmp_path


@pytest.mark.parametrize("with_triton", [False, True], ids=["gateway", "serve"])
def test_the_installed_wheel_answers_a_chat(
    slipway: Path, folder: Path, engine_dir: Path, with_triton: bool
) -> None:
    url, name = f"http://127.0.0.1:{(port := free_port())}", engine_dir.name
    if with_triton:
        options = [
            "serve",
            *(f"--triton-{service}-port={free_port()}" for service in ("http", "grpc", "metrics")),
        ]
    else:
        options = ["gateway", f"--engine=engines/{name}"]
    with running([str(slipway), *options, f"--port={port}"], f"{url}/health/ready", cwd=folder):
        question = {"role": "user", "content": "What is the capital of France?"}
        body = {"model": name, "messages": [question], "temperature": 0}
        reply = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).raise_for_status().json()
    assert "Paris" in reply["choices"][0]["message"]["content"]
