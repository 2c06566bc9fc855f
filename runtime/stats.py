"""How busy an engine is; reported by `engine` and carried by `messages`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Requests running in a slot, requests waiting for one, and how many slots there are."""

    running: int
    waiting: int
    slots: int
