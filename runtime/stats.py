"""How busy an engine is; reported by `engine` and carried by `messages`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Requests running in a slot, requests waiting for one, and how many slots there are.

    draft_tokens, accepted_tokens: since the engine was loaded, how many tokens were drafted, and how many of
    them were right.
    """

    running: int
    waiting: int
    slots: int
    draft_tokens: int = 0
    accepted_tokens: int = 0
