"""Triton's Python backend, and its stub: the program that runs a stage in a process of its own."""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from slipway.contract.disk_errors import writing
from slipway.contract.errors import ServerFailed

WHEEL = "nvidia-pytriton"
STUB = "triton_python_backend_stub"
_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_LIBRARY = f"libpython{_VERSION}.so.1.0"
_STUB_TIMEOUT_S = 60.0


def install(package: Path, cache: Path) -> Path:
    """Make a backend directory from the wheel, with the stub of the running Python and its library.

    The stub links `libpython3.x.so.1.0`. The Pythons of uv, conda and pyenv have it where the system's loader
    does not look, so a link to it is put beside the stub.

    package: where the wheel is installed. cache: the directory is made in here, once for each Python.
    Raises ServerFailed when the wheel has no stub for this Python.
    """
    library = _library()
    key = hashlib.sha256(str(library).encode()).hexdigest()[:8]
    directory = cache / f"triton-backends-{metadata.version(WHEEL)}-python{_VERSION}-{key}"
    if directory.is_dir():
        return directory
    stub = package / "tritonserver" / "python_backend_stubs" / _VERSION / STUB
    if not stub.is_file():
        raise ServerFailed(f"{WHEEL} has no stub for Python {_VERSION}; use Python 3.11 or 3.12.")
    cache.mkdir(exist_ok=True)
    with writing(directory), tempfile.TemporaryDirectory(dir=cache) as parent:
        made = Path(parent) / "new"
        shutil.copytree(package / "tritonserver" / "backends" / "python", made / "python")
        shutil.copy(stub, made / "python")
        if library is not None:
            (made / "python" / _LIBRARY).symlink_to(library)
        made.rename(directory)
    return directory


def check_stub(stub: Path, environment: Mapping[str, str]) -> None:
    """Raise ServerFailed when the stub does not start, for which Triton would wait for ever.

    Without arguments a stub that loads its libraries prints how to call it, and ends.
    """
    try:
        done = subprocess.run(
            [stub], env=environment, capture_output=True, text=True, timeout=_STUB_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerFailed(f"Triton cannot run its Python stages: {error}.") from None
    problem = done.stderr.strip().splitlines()[-1:]
    if not problem or not problem[0].startswith(f"{stub}:"):  # as the loader begins its errors
        return
    way_out = ""
    if "libpython" in problem[0]:
        way_out = (
            f"; install Python's shared library (Debian, Ubuntu: apt install libpython{_VERSION}), or make "
            ".venv again with a Python that has it, such as uv's or conda's"
        )
    raise ServerFailed(f"Triton cannot run its Python stages: {problem[0]}{way_out}.")


def _library() -> Path | None:
    """The shared library of the running Python; None where it has none, or none in a folder of its own."""
    folders = (sysconfig.get_config_var("LIBDIR"), Path(sys.base_prefix, "lib"))
    paths = (Path(folder, _LIBRARY) for folder in folders if folder)
    return next((path for path in paths if os.access(path, os.R_OK)), None)
