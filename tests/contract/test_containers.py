"""compose.yaml and the Dockerfiles: valid, safe to publish, and true to the rooms they carry."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.paths import ROOT

from slipway.gateway.settings import Settings
from slipway.gateway.workers import CLOSE_S

BIN = Path(sys.executable).parent
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
SERVERS = {name: service for name, service in SERVICES.items() if name != "build"}

each_dockerfile = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
each_server = pytest.mark.parametrize("service", SERVERS.values(), ids=SERVERS.keys())


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Instruction and argument, continued lines joined."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return [(name, argument) for name, argument in lines]


def copied(dockerfile: Path) -> list[str]:
    return [argument.split()[0] for name, argument in instructions(dockerfile) if name == "COPY"]


def command(dockerfile: Path) -> list[str]:
    [argument] = [argument for name, argument in instructions(dockerfile) if name == "CMD"]
    return list(ast.literal_eval(argument))


def dockerfile_of(service: dict[str, Any]) -> Path:
    return ROOT / service["build"]["context"] / service["build"]["dockerfile"]


def test_compose_files_are_valid():
    files = [ROOT / name for name in ("compose.yaml", "compose.gpu.yaml", "compose.keys.yaml")]
    check = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_with_gpus_triton_serves_compiled_engines():
    added = yaml.safe_load((ROOT / "compose.gpu.yaml").read_text())["services"]
    assert added.keys() == {"triton"}
    assert added["triton"]["deploy"] == SERVICES["build"]["deploy"]


def test_a_gateway_with_keys_does_not_run_insecure():
    [gateway] = yaml.safe_load((ROOT / "compose.keys.yaml").read_text())["services"].values()
    environment = SERVICES["gateway"]["environment"] | gateway["environment"]
    folder = gateway["volumes"][0].split(":")[1]
    assert environment == {"SLIPWAY_INSECURE": "0", "SLIPWAY_KEYS": f"{folder}/keys.yaml"}


@each_dockerfile
def test_hadolint_reports_nothing(dockerfile: Path):
    done = subprocess.run([BIN / "hadolint", dockerfile], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_triton_brings_the_gateway():
    assert SERVICES["triton"]["depends_on"] == {"gateway": {"condition": "service_started"}}
    assert "depends_on" not in SERVICES["gateway"]


@each_server
def test_ports_are_published_on_loopback_only(service: dict[str, Any]):
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


@each_server
def test_a_container_that_ends_is_started_again_and_has_time_to_drain(service: dict[str, Any]):
    assert service["restart"] == "unless-stopped"
    assert int(service["stop_grace_period"].removesuffix("s")) >= Settings().drain_timeout + CLOSE_S


@each_server
def test_exposed_ports_are_the_published_ones(service: dict[str, Any]):
    exposed = [
        port
        for name, argument in instructions(dockerfile_of(service))
        if name == "EXPOSE"
        for port in argument.split()
    ]
    assert [port.split(":")[-1] for port in service["ports"]] == exposed


@each_server
def test_mounted_folders_exist_are_read_only_and_are_where_the_code_looks(service: dict[str, Any]):
    [workdir] = [argument for name, argument in instructions(dockerfile_of(service)) if name == "WORKDIR"]
    for volume in service["volumes"]:
        source, target, mode = volume.split(":")
        assert (ROOT / source).is_dir()
        assert target == f"{workdir}/{source.removeprefix('./')}"
        assert mode == "ro"


def test_engines_are_compiled_in_the_image_that_serves_them():
    build, triton = SERVICES["build"], SERVICES["triton"]
    assert build["build"] == triton["build"]
    assert build["profiles"] == ["build"], "`docker compose up` starts no build"
    assert "ports" not in build
    [workdir] = [argument for name, argument in instructions(dockerfile_of(build)) if name == "WORKDIR"]
    assert build["volumes"] == [f".:{workdir}"]
    assert build["environment"]["USER"], "any user can be given, also one that the image does not know"
    [device] = build["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_the_build_service_takes_what_the_build_command_takes():
    python, *command = SERVICES["build"]["entrypoint"]
    assert python == "python3"
    asked = [sys.executable, *command, *SERVICES["build"]["command"]]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    assert " engine " in done.stdout


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
    installed = instructions(ROOT / "docker/triton.Dockerfile")
    assert any('".[${EXTRAS}]"' in line for _, line in installed)
    [extras] = re.findall(r"^ARG EXTRAS=(.*)", (ROOT / "docker/triton.Dockerfile").read_text(), re.MULTILINE)
    assert extras == "serving,compile"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {line.partition("==")[0] for line in project["optional-dependencies"]["compile"]}
    assert {"filelock", "ml_dtypes", "safetensors"} == named


@each_dockerfile
def test_the_base_image_is_an_argument(dockerfile: Path):
    first, second, *_ = instructions(dockerfile)
    assert first[0] == "ARG"
    assert first[1].startswith("BASE=")
    assert second == ("FROM", "${BASE}")


@each_dockerfile
def test_every_copied_path_exists_and_is_in_the_build_context(dockerfile: Path):
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    let_in = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    for source in copied(dockerfile):
        assert list(ROOT.glob(source)), f"{source} does not exist"
        assert any(fnmatch(source, pattern) or source.startswith(f"{pattern}/") for pattern in let_in)


def test_no_weights_are_in_the_build_context():
    let_in = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    files = [path for pattern in let_in for found in ROOT.glob(pattern) for path in walk(found)]
    assert files
    assert all(path.stat().st_size < 1_000_000 for path in files)


def walk(path: Path) -> Iterator[Path]:
    yield from path.rglob("*") if path.is_dir() else [path]


@each_dockerfile
def test_the_package_is_copied(dockerfile: Path):
    assert "slipway" in copied(dockerfile)


@each_dockerfile
def test_the_process_is_not_root_and_has_a_health_check(dockerfile: Path):
    given = dict(instructions(dockerfile))
    assert given["USER"] == "1000:1000"
    assert "HEALTHCHECK" in given


@each_dockerfile
def test_the_command_names_options_that_exist(dockerfile: Path):
    slipway, subcommand, *rest = command(dockerfile)
    assert slipway == "slipway"
    asked = [BIN / slipway, subcommand, "--help"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    for option in rest:
        if option.startswith("--"):
            assert option in done.stdout


def test_the_gateway_looks_for_triton_where_compose_puts_it():
    words = command(dockerfile_of(SERVICES["gateway"]))
    host, port = words[words.index("--triton-url") + 1].split(":")
    assert host in SERVICES
    assert f"127.0.0.1:{port}:{port}" in SERVICES[host]["ports"]


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
    [line] = [line for name, line in instructions(ROOT / "docker/triton.Dockerfile") if "venv" in line]
    assert "python3 docker/image_packages.py" in line
