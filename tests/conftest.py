"""Fixtures of all tests, and an environment that is the same for each person."""

import gc
import os
import re
import shutil
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from support.paths import ROOT

from slipway.text.tokenizer import Tokenizer

# Settings of the person's own shell for servers, clients, proxies and colours: no test sees them.
_PERSONAL = ("SLIPWAY_", "OPENAI_", "ANTHROPIC_")
_COLOURS = ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS")
for _name in set(os.environ) - {"SLIPWAY_TRITONSERVER"}:
    if _name.startswith(_PERSONAL) or _name in _COLOURS or _name.lower().endswith("_proxy"):
        del os.environ[_name]

# Commands draw messages in a box as wide as the terminal. So wide a box wraps no message that a test reads.
_TERMINAL_COLUMNS = shutil.get_terminal_size().columns
os.environ["COLUMNS"] = "1000"

# A shell that starts the tests in the background makes their processes ignore Ctrl-C, which tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Pytest's own report is as wide as the real terminal. The processes of `pytest -n` have none.

    Each of these has cores of its own.
    """
    if hasattr(config, "workerinput"):
        _take_a_share_of_the_cores(config.workerinput["workerid"], config.workerinput["workercount"])
    if config.pluginmanager.has_plugin("terminalreporter"):
        config.get_terminal_writer().fullwidth = _TERMINAL_COLUMNS


def _take_a_share_of_the_cores(worker: str, workers: int) -> None:
    """An engine's threads spin while they wait, so engines on the same cores take half as long again."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(cores) >= workers:
        os.sched_setaffinity(0, cores[int(worker.removeprefix("gw")) :: workers])


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collected tests stay in memory, so the garbage collector need not look at them: 1/6 less time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process whole files, but a server that serves several files to one process alone."""
    from xdist.scheduler import LoadFileScheduling

    class ByServer(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            backend = re.match(r"tests/contract/.*\[(local|triton|trtllm)\b", nodeid)
            return backend[1] if backend else str(super()._split_scope(nodeid))

    return ByServer(config, log)


@pytest.fixture(scope="session")
def checkpoint_dir() -> Path:
    return _made(ROOT / "checkpoints" / "smollm2-135m-instruct", "make sample")


@pytest.fixture(scope="session")
def tokenizer(checkpoint_dir: Path) -> Tokenizer:
    """The sample model's tokenizer. It takes half a second to load, and no test changes it."""
    return Tokenizer.load(checkpoint_dir)


@pytest.fixture(scope="session")
def engine_dir() -> Path:
    return _made(ROOT / "engines" / "smollm2-135m-int4", "make engine")


@pytest.fixture(scope="session")
def int8_engine_dir() -> Path:
    return _made(ROOT / "engines" / "smollm2-135m-int8", "make engine RECIPE=engines/smollm2-135m-int8.yaml")


@pytest.fixture(scope="session")
def openvino_engine_dir() -> Path:
    name = "smollm2-135m-openvino-int8"
    return _made(ROOT / "engines" / name, f"make engine RECIPE=engines/{name}.yaml")


@pytest.fixture(scope="module", params=["engine_dir", "int8_engine_dir", "openvino_engine_dir"])
def each_engine_dir(request: pytest.FixtureRequest) -> Path:
    """Each sample engine for the CPU."""
    directory: Path = request.getfixturevalue(request.param)
    return directory


def _made(directory: Path, command: str) -> Path:
    assert directory.is_dir(), f"{directory} is missing: run `{command}` first"
    return directory
