"""The Dockerfiles: pinned, complete, and without what they do not need."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from support.images import DOCKERFILES, arguments, dockerfile_of, instructions, services
from support.paths import ROOT

BIN = Path(sys.executable).parent

each_dockerfile = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)


@each_dockerfile
def test_hadolint_reports_nothing(dockerfile: Path):
    done = subprocess.run([BIN / "hadolint", dockerfile], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_health_check_tells_a_healthy_server_from_another():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health/live" else 503)
            self.end_headers()

    def status(path: str, port: int) -> int:
        command = [ROOT / "docker" / "healthcheck", "SLIPWAY_PORT", path]
        environment = {**os.environ, "SLIPWAY_PORT": str(port)}
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        assert status("/health/live", server.server_port) == 0
        assert status("/health/ready", server.server_port) == 1
        server.shutdown()
    assert status("/health/live", server.server_port) == 1


def test_compiling_needs_nothing_that_the_image_lacks():
    absent = "'torch', 'transformers', 'onnx', 'onnx_ir', 'onnxruntime_genai', 'accelerate', 'gguf'"
    code = f"import sys; sys.modules.update(dict.fromkeys([{absent}])); import build.__main__, build.engine"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}, build.trtllm.engine, build.trtllm.plan"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    dockerfile = ROOT / "docker/triton.Dockerfile"
    assert any('".[${EXTRAS}]"' in line for _, line in instructions(dockerfile))
    assert arguments(dockerfile)["EXTRAS"] == "serving,compile"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {line.partition("==")[0] for line in project["optional-dependencies"]["compile"]}
    assert {"filelock", "ml_dtypes", "safetensors"} == named


def test_only_the_image_with_an_engine_of_its_own_has_onnxruntime():
    lines = dict.fromkeys(line for name, line in instructions(ROOT / "docker/gateway.Dockerfile"))
    [serving] = [line for line in lines if '".[serving]"' in line]
    assert "pip" in serving
    sources = [line for line in lines if line.startswith("--from=")]
    assert [source.split()[0] for source in sources] == [
        "--from=cpu-environment",
        "--from=gateway-environment",
    ]
    assert "packages AS gateway-environment" in lines


@each_dockerfile
def test_the_base_image_is_an_argument_and_pinned(dockerfile: Path):
    first, *others = instructions(dockerfile)
    assert first[0] == "ARG"
    assert re.fullmatch(r"BASE=[\w./-]+:\d+\.[\w.-]+", first[1])
    bases = {argument.split()[0] for name, argument in others if name == "FROM"}
    stages = {argument.partition(" AS ")[2] for name, argument in others if name == "FROM"}
    assert bases - stages == {"${BASE}"}
    built = [service for service in services().values() if dockerfile_of(service) == dockerfile]
    assert arguments(dockerfile)["BASE"] in {service["build"]["args"]["BASE"] for service in built}


@each_dockerfile
def test_every_package_has_the_version_that_was_tested(dockerfile: Path):
    installs = re.findall(r"pip --python \S+ install [^&;]*", str(instructions(dockerfile)))
    assert installs
    assert all("-c requirements/constraints.txt" in line or "--no-deps" in line for line in installs)


@each_dockerfile
def test_every_copied_path_exists_and_is_in_the_build_context(dockerfile: Path):
    let_in = in_context()
    copies = [argument for name, argument in instructions(dockerfile) if name == "COPY"]
    sources = [source for copy in copies if not copy.startswith("--from") for source in copy.split()[:-1]]
    assert {"slipway", "docker/healthcheck"} <= set(sources)
    for source in sources:
        assert list(ROOT.glob(source)), f"{source} does not exist"
        assert any(fnmatch(source, pattern) or source.startswith(f"{pattern}/") for pattern in let_in)


def test_no_weights_are_in_the_build_context():
    files = [path for pattern in in_context() for found in ROOT.glob(pattern) for path in walk(found)]
    assert files
    assert all(path.stat().st_size < 1_000_000 for path in files)


def in_context() -> list[str]:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    return [line.removeprefix("!") for line in ignored if line.startswith("!")]


def walk(path: Path) -> Iterator[Path]:
    yield from path.rglob("*") if path.is_dir() else [path]


def test_our_environment_falls_back_to_the_packages_of_the_image(tmp_path: Path):
    """As the Dockerfile makes it: NVIDIA's image has TensorRT-LLM in a virtual environment too."""
    made = {}
    for name in ("image", "ours"):
        subprocess.run([sys._base_executable, "-m", "venv", "--without-pip", tmp_path / name], check=True)
        [made[name]] = (tmp_path / name / "lib").glob("python*/site-packages")
        (made[name] / "both.py").write_text(f"found = {name!r}")
    info = made["image"] / "tensorrt_llm-1.2.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: tensorrt_llm\nVersion: 1.2.1\n")
    (made["image"] / "nested.pth").write_text(str(tmp_path / "nested"))
    (tmp_path / "nested").mkdir()
    (tmp_path / "nested" / "cutlass.py").touch()
    written = [tmp_path / "image" / "bin" / "python3", ROOT / "docker" / "image_packages.py"]
    ran = subprocess.run(written, stdout=subprocess.PIPE, check=True)
    (made["ours"] / "image.pth").write_bytes(ran.stdout)
    code = "from importlib import metadata; import both, cutlass\n"
    code += "print(metadata.version('tensorrt_llm'), both.found)"
    asked = [tmp_path / "ours" / "bin" / "python3", "-c", code]
    seen = subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert seen.split() == ["1.2.1", "ours"]
    lines = [line for name, line in instructions(ROOT / "docker/triton.Dockerfile") if name == "RUN"]
    assert any(line.startswith("python3 docker/image_packages.py") for line in lines)
