"""The answer of GET /version: the versions of Slipway and of the packages that serve with it."""

import platform
from contextlib import suppress
from functools import cache
from importlib import metadata

from pydantic import BaseModel

from slipway.contract.version import version as slipway_version

# The packages whose version can change an answer or how it is sent.
_PACKAGES = (
    "fastapi", "jinja2", "llguidance", "numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "pydantic",
    "tokenizers", "tritonclient", "uvicorn",
)  # fmt: skip


class Version(BaseModel):
    """The response. packages: versions of the packages that are installed here."""

    version: str
    python: str
    packages: dict[str, str]


@cache
def version() -> Version:
    """Return the versions of this process."""
    packages = {}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):  # such as onnxruntime in front of Triton
            packages[name] = metadata.version(name)
    return Version(version=slipway_version(), python=platform.python_version(), packages=packages)
