import gc
import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from support.paths import ROOT

from slipway.text.tokenizer import Tokenizer

# What the shell of whoever runs the tests sets for servers and clients of their own, and its proxies.
_FOREIGN = ("SLIPWAY_", "OPENAI_", "ANTHROPIC_")
for _name in set(os.environ) - {"SLIPWAY_TRITONSERVER"}:
    if _name.startswith(_FOREIGN) or _name.lower().endswith("_proxy"):
        del os.environ[_name]

# A shell that starts the tests in the background makes them ignore Ctrl-C; their children would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays: a sixth of the unit tests' time went into looking for rubbish in it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def checkpoint_dir() -> Path:
    return _made(ROOT / "checkpoints" / "smollm2-135m-instruct", "make sample")


@pytest.fixture(scope="session")
def tokenizer(checkpoint_dir: Path) -> Tokenizer:
    """The sample's: half a second to load, and nothing changes it."""
    return Tokenizer.load(checkpoint_dir)


@pytest.fixture(scope="session")
def engine_dir() -> Path:
    return _made(ROOT / "engines" / "smollm2-135m-int4", "make engine")


@pytest.fixture(scope="session")
def int8_engine_dir() -> Path:
    return _made(ROOT / "engines" / "smollm2-135m-int8", "make engine RECIPE=engines/smollm2-135m-int8.yaml")


def _made(directory: Path, command: str) -> Path:
    assert directory.is_dir(), f"{directory} is missing: run `{command}` first"
    return directory
