"""GET /version: which Slipway this is, and which packages it runs on; answered by `gateway.app`."""

import platform
from functools import cache
from importlib import metadata

from pydantic import BaseModel

from slipway.contract.version import version as slipway_version

# Those whose version can change an answer, or how it is sent.
_PACKAGES = (
    "fastapi", "jinja2", "llguidance", "numpy", "onnxruntime", "onnxruntime-gpu", "pydantic", "tokenizers",
    "tritonclient", "uvicorn",
)  # fmt: skip


class Version(BaseModel):
    """The response of GET /version. packages: those that are installed here."""

    version: str
    python: str
    packages: dict[str, str]


@cache
def version() -> Version:
    """Of this process; nothing of it changes while it runs."""
    return Version(version=slipway_version(), python=platform.python_version(), packages=_installed())


def _installed() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # such as onnxruntime where only Triton runs engines
    return found
