"""Where tritonserver is and how it is started; used by `slipway triton` and `deploy.serve`.

NVIDIA's container has it under /opt/tritonserver; elsewhere the wheel nvidia-pytriton brings the same binary.
"""

import importlib.util
import os
import re
import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from slipway.contract.errors import ServerFailed
from slipway.serve import process_groups
from slipway.serve.compiled import compiled
from slipway.triton.repository import root_of

SETTING = "SLIPWAY_TRITONSERVER"
_CONTAINER = Path("/opt/tritonserver/bin/tritonserver")
_WHEEL = "nvidia-pytriton"
# What Triton's Python backend can hand on; with a blank in the path it waits for its stages for ever.
_PLAIN = re.compile(r"[A-Za-z0-9/._+@,:=~-]+")
# How long running requests may take to end at shutdown, in seconds, before Triton leaves without them.
EXIT_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Ports:
    """Where Triton listens."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002


@dataclass(frozen=True, slots=True)
class Start:
    """A command line and its whole environment."""

    command: list[str]
    environment: dict[str, str]

    def check(self) -> None:
        """Raise ServerFailed when the program is not here."""
        if shutil.which(self.command[0]) is None:
            raise ServerFailed(
                f"{self.command[0]} is not here, which starts an engine of several GPUs; serve it in the "
                "container of docker/triton.Dockerfile."
            )

    def __str__(self) -> str:
        """As a line for a shell: what is added to the environment, and the command."""
        here = os.environ
        added = [f"{name}={value}" for name, value in self.environment.items() if here.get(name) != value]
        return shlex.join([*(["env", *added] if added else []), *self.command])


def start(repository: Path, host: str, ports: Ports) -> Start:
    """How to start Triton on the models in `repository`, in a process for each GPU where engines need it.

    A model that does not load leaves the others served. Raises ServerFailed when there is no tritonserver or
    no model, or engines are in each other's way.
    """
    cache = cache_of(repository)
    if not any(repository.glob("*/config.pbtxt")):
        raise ServerFailed(f"{repository} holds no models; run `make engine` first.")
    for path, way_out in (
        (repository, "--model-repository FOLDER"),
        (cache, "its folder elsewhere"),
    ):
        if not _PLAIN.fullmatch(str(path)):
            raise ServerFailed(
                f"Triton starts Python on {path} through a shell without quotes, so the path may have ASCII "
                f"letters, digits and ._+@,:=~- alone; move it: {way_out}."
            )
    environment = dict(os.environ)
    options = []
    binary = _installed()
    if binary is None:
        package = _wheel()
        binary = package / "tritonserver" / "bin" / "tritonserver"
        options.append(f"--backend-directory={_backends(package, cache)}")
        libraries = package.parent / "nvidia_pytriton.libs"
        environment["LD_LIBRARY_PATH"] = _prepended(libraries, environment.get("LD_LIBRARY_PATH"))
        # The stub starts the first `python3` on PATH to learn where the installed packages are.
        environment["PATH"] = _prepended(Path(sys.executable).parent, environment.get("PATH"))
    command = [
        str(binary),
        f"--model-repository={repository}",
        *options,
        *(f"--{service}-address={host}" for service in ("http", "grpc", "metrics")),
        f"--http-port={ports.http}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-port={ports.metrics}",
        "--disable-auto-complete-config",
        "--exit-on-error=false",
        "--strict-readiness=false",
        f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
    ]
    groups = process_groups.form(compiled(repository))
    return Start(groups.launch(command), environment | groups.environment)


def cache_of(repository: Path) -> Path:
    """Where logs and the Python backend are kept: beside the model repository."""
    return root_of(repository) / ".cache"


def _installed() -> Path | None:
    chosen = os.environ.get(SETTING)
    if chosen is None:
        return _CONTAINER if _CONTAINER.is_file() else None
    if not Path(chosen).is_file():
        raise ServerFailed(f"{SETTING} is {chosen}, but there is no such file; unset it or mend it.")
    return Path(chosen)


def _wheel() -> Path:
    found = importlib.util.find_spec("pytriton")  # found, not imported: it brings its own logging along
    if found is None or found.origin is None:
        raise ServerFailed(
            f"There is no tritonserver: not at {_CONTAINER}, and the wheel {_WHEEL} is not installed; "
            f"run `make setup`, or set {SETTING} to the binary."
        )
    return Path(found.origin).parent


def _backends(package: Path, cache: Path) -> Path:
    """A backend directory with the stub of the running Python, which the wheel keeps apart."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    directory = cache / f"triton-backends-{metadata.version(_WHEEL)}-python{python}"
    if directory.is_dir():
        return directory
    stub = package / "tritonserver" / "python_backend_stubs" / python / "triton_python_backend_stub"
    if not stub.is_file():
        raise ServerFailed(f"{_WHEEL} has no stub for Python {python}; use Python 3.11 or 3.12.")
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as made:
        shutil.copytree(package / "tritonserver" / "backends" / "python", Path(made) / "new" / "python")
        shutil.copy(stub, Path(made) / "new" / "python")
        (Path(made) / "new").rename(directory)
    return directory


def _prepended(path: Path, value: str | None) -> str:
    return f"{path}:{value}" if value else str(path)
