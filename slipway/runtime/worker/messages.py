"""What the engine process and its parent say to each other, between `process` and `worker`."""

import pickle
from dataclasses import dataclass
from typing import IO, Any

from slipway.contract.generation import SamplingParams
from slipway.runtime.sequence import Event
from slipway.runtime.stats import EngineStats


@dataclass(frozen=True, slots=True)
class Submit:
    """Parent: start a generation."""

    request_id: str
    prompt_token_ids: tuple[int, ...]
    sampling: SamplingParams


@dataclass(frozen=True, slots=True)
class Cancel:
    """Parent: nobody listens to this generation any more."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Close:
    """Parent: end."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Worker: the engine takes requests."""

    stats: EngineStats


@dataclass(frozen=True, slots=True)
class Refused:
    """Worker: the engine must not be served, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Events:
    """Worker: everything one step did, as (request id, event)."""

    events: tuple[tuple[str, Event], ...]
    stats: EngineStats


@dataclass(frozen=True, slots=True)
class Broken:
    """Worker: the engine failed and takes no more requests, and why."""

    reason: str


FromParent = Submit | Cancel | Close
FromWorker = Loaded | Refused | Events | Broken


def send(pipe: IO[bytes], message: FromParent | FromWorker) -> None:
    """Write a message. Raises OSError when nobody reads any more."""
    pickle.dump(message, pipe, pickle.HIGHEST_PROTOCOL)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """The next message, or None when its writer has ended, be it in the middle of one."""
    try:
        return pickle.load(pipe)
    except (EOFError, OSError, pickle.UnpicklingError):
        return None
