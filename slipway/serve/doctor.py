"""The checks of `slipway serve` without a start: what this machine can serve, and what to correct."""

import platform
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from slipway.contract.errors import SlipwayError
from slipway.contract.exposure import check_exposure
from slipway.contract.manifest import FILE_NAME, open_engine
from slipway.serve import supervisor, tritonserver
from slipway.serve.options import ServeOptions
from slipway.serve.ports import check_free

Check = tuple[str, Callable[[], str]]


def examine(options: ServeOptions, engines: Path) -> bool:
    """Print a line for each check; whether all of them passed."""
    passed = True
    for title, check in _checks(options, engines):
        try:
            line = f"ok       {title}: {check()}"
        except SlipwayError as error:
            line, passed = f"problem  {title}: {error}", False
        print(line, flush=True)
    return passed


def _checks(options: ServeOptions, engines: Path) -> Iterator[Check]:
    yield "Python", lambda: f"{platform.python_version()} at {sys.executable}"
    yield "Triton", lambda: _triton(options)
    yield "Ports", lambda: _ports(options)
    manifests = sorted(engines.glob(f"*/{FILE_NAME}"))
    if not manifests:
        yield "Engines", lambda: f"{engines} holds none; `make engine` builds one"
    for path in manifests:
        yield f"Engine {path.parent}", partial(_engine, path.parent)


def _triton(options: ServeOptions) -> str:
    start = tritonserver.start(options.model_repository.resolve(), options.host, options.triton_ports)
    start.check()
    return f"{start.command[0]} and its Python stages start"


def _ports(options: ServeOptions) -> str:
    check_exposure(options.host, options.keys is not None, options.insecure)
    listeners = supervisor.listeners(options)
    check_free(listeners)
    return ", ".join(str(listener.port) for listener in listeners) + " are free"


def _engine(directory: Path) -> str:
    manifest = open_engine(directory)
    return f"{manifest.name} for {manifest.target.name}, its files are complete and fit this machine"
