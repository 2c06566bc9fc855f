"""How busy an engine is; reported by `engine` and carried by `messages`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Requests running in a slot, requests waiting for one, and how many slots there are.

    Since the engine was loaded: generated_tokens, all that answers were made of, whether anybody still read
    them or not; draft_tokens, how many were drafted; accepted_tokens, how many of those were right.
    """

    running: int
    waiting: int
    slots: int
    generated_tokens: int = 0
    draft_tokens: int = 0
    accepted_tokens: int = 0
