"""The messages between the engine process and its parent."""

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
    """Parent: end this generation, because its client left."""

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
    """Worker: everything that one step did, as (request id, event)."""

    events: tuple[tuple[str, Event], ...]
    stats: EngineStats


@dataclass(frozen=True, slots=True)
class Alive:
    """Worker: a sign of life, and how many seconds the forward pass has taken that runs now."""

    pass_s: float


@dataclass(frozen=True, slots=True)
class Broken:
    """Worker: the engine failed and takes no more requests, and why."""

    reason: str


FromParent = Submit | Cancel | Close
FromWorker = Loaded | Refused | Events | Alive | Broken


def send(pipe: IO[bytes], message: FromParent | FromWorker) -> None:
    """Write a message. Raises OSError when the reader is gone."""
    pickle.dump(message, pipe, pickle.HIGHEST_PROTOCOL)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """The next message, or None when the writer ended, even in the middle of a message."""
    try:
        return pickle.load(pipe)
    except (EOFError, OSError, pickle.UnpicklingError):
        return None
