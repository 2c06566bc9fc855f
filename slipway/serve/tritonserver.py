"""The program tritonserver: where it is, and the command line that starts it.

NVIDIA's container has it under /opt/tritonserver; elsewhere the wheel nvidia-pytriton brings the same binary.
"""

import importlib.util
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from slipway.contract.errors import ServerFailed
from slipway.serve import process_groups, python_backend
from slipway.serve.ports import Ports
from slipway.triton.engine_folder import root_of
from slipway.triton.repository import compiled_engines

SETTING = "SLIPWAY_TRITONSERVER"
_CONTAINER = Path("/opt/tritonserver/bin/tritonserver")
# Triton starts Python through a shell without quotes; with a blank in the path it waits for ever.
_SAFE_PATH = re.compile(r"[A-Za-z0-9/._+@,:=~-]+")
_SHARED_MEMORY = Path("/dev/shm")
# Seconds that running requests may take to end at shutdown, before Triton leaves without them.
EXIT_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command line and its whole environment."""

    command: list[str]
    environment: dict[str, str]

    def check(self) -> None:
        """Raise ServerFailed when the program is not on this machine."""
        if shutil.which(self.command[0]) is None:
            raise ServerFailed(
                f"{self.command[0]} is not installed, which starts an engine of several GPUs; serve it in "
                "the container of docker/triton.Dockerfile."
            )

    def __str__(self) -> str:
        """As a line for a shell: what is added to the environment, and the command."""
        here = os.environ
        added = [f"{name}={value}" for name, value in self.environment.items() if here.get(name) != value]
        return shlex.join([*(["env", *added] if added else []), *self.command])


def start(repository: Path, host: str, ports: Ports) -> CommandLine:
    """How to start Triton on the models in `repository`, in a process for each GPU where engines need it.

    A model that does not load leaves the others served. Raises ServerFailed when there is no tritonserver or
    no model, when Python stages cannot run, or when engines claim the same GPU.
    """
    cache = cache_of(repository)
    if not any(repository.glob("*/config.pbtxt")):
        raise ServerFailed(f"{repository} holds no models; run `make engine` first.")
    for path, way_out in ((repository, "--model-repository FOLDER"), (cache, "its folder elsewhere")):
        if not _SAFE_PATH.fullmatch(str(path)):
            raise ServerFailed(
                f"Triton starts Python on {path} through a shell without quotes, so the path may have ASCII "
                f"letters, digits and ._+@,:=~- alone; move it: {way_out}."
            )
    binary, options, environment = _program(cache)
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
    engines = compiled_engines(repository)
    group = process_groups.process_group(engines)
    environment |= process_groups.environment(engines) | group.environment
    return CommandLine(group.launch(command, _memory(ports)), environment)


def free_memory(ports: Ports) -> None:
    """Remove the shared memory of a Triton that was killed: 1 MiB or more for each stage."""
    for region in _SHARED_MEMORY.glob(f"{_memory(ports)}*"):
        region.unlink(missing_ok=True)


def cache_of(repository: Path) -> Path:
    """Where logs and the Python backend are kept: beside the model repository."""
    return root_of(repository) / ".cache"


def _memory(ports: Ports) -> str:
    """The prefix of the names of its shared memory."""
    return f"slipway_{ports.http}_"


def _program(cache: Path) -> tuple[Path, list[str], dict[str, str]]:
    """The binary, the options that say where its backends are, and its environment."""
    environment = dict(os.environ)
    binary = _installed()
    if binary is not None:
        stub = binary.parents[1] / "backends" / "python" / python_backend.STUB
        if stub.is_file():
            python_backend.check_stub(stub, environment)
        return binary, [], environment
    package = _wheel()
    backends = python_backend.install(package, cache)
    # Of the stub too: it starts with Triton's environment. Python's own library lies beside the stub.
    libraries = [str(package.parent / "nvidia_pytriton.libs"), str(backends / "python")]
    environment["LD_LIBRARY_PATH"] = _joined(*libraries, environment.get("LD_LIBRARY_PATH"))
    # The stub starts the first `python3` on PATH to learn where the installed packages are.
    environment["PATH"] = _joined(str(Path(sys.executable).parent), environment.get("PATH"))
    python_backend.check_stub(backends / "python" / python_backend.STUB, environment)
    binary = package / "tritonserver" / "bin" / "tritonserver"
    return binary, [f"--backend-directory={backends}"], environment


def _installed() -> Path | None:
    chosen = os.environ.get(SETTING)
    if chosen is None:
        return _CONTAINER if _CONTAINER.is_file() else None
    if not Path(chosen).is_file():
        raise ServerFailed(f"{SETTING} is {chosen}, but there is no such file; unset it or correct it.")
    return Path(chosen)


def _wheel() -> Path:
    found = importlib.util.find_spec("pytriton")  # found, not imported: it brings its own logging along
    if found is None or found.origin is None:
        raise ServerFailed(
            f"There is no tritonserver: not at {_CONTAINER}, and the wheel {python_backend.WHEEL} is not "
            f"installed; run `make setup`, or set {SETTING} to the binary."
        )
    return Path(found.origin).parent


def _joined(*folders: str | None) -> str:
    return ":".join(folder for folder in folders if folder)
