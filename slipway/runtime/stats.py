"""How busy an engine is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Requests running in a slot, requests waiting for one, and the number of slots.

    Since the engine was loaded: generated_tokens, all tokens of answers, even if the client had left;
    draft_tokens, how many were drafted; accepted_tokens, how many of the drafted tokens were right.
    """

    running: int
    waiting: int
    slots: int
    generated_tokens: int = 0
    draft_tokens: int = 0
    accepted_tokens: int = 0
