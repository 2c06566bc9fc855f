"""What a backend is: one engine that answers requests; `gateway.models` holds one for each model."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from slipway.contract.generation import Delta, GenerationRequest


@dataclass(frozen=True, slots=True)
class Load:
    """How busy an engine is, in requests: those in a slot, and those that wait for one.

    Since it was loaded: generated_tokens, those of all answers; draft_tokens, those it guessed, and
    accepted_tokens, how many guesses were right.
    """

    running: int
    waiting: int
    generated_tokens: int
    draft_tokens: int
    accepted_tokens: int


class Backend(Protocol):
    """One engine, in this process's care or on a Triton server."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """The answer as it comes; texts joined are the answer, the last delta has the finish reason.

        Closing the generator, or cancelling the task that waits in it, ends the generation in the engine.
        Raises ModelUnavailable, InvalidRequest or EngineFailed.
        """
        ...

    async def check(self) -> None:
        """Raise ModelUnavailable, which says why, unless a request would be served now."""
        ...

    async def probe(self) -> None:
        """Like `check`, and ask the engine itself; for who looks now and then, not for each request."""
        ...

    async def bring_up(self) -> None:
        """Load the engine, and return when it is ready.

        Raises ModelUnavailable or EngineRefused, which say why it is not.
        """
        ...

    async def take_down(self) -> None:
        """Take no more requests until `bring_up`, and return when the last has ended and memory is free.

        Raises NotOffered, ModelUnavailable or EngineRefused.
        """
        ...

    async def close(self) -> None:
        """End every generation and let go of the engine."""
        ...

    @property
    def load(self) -> Load | None:
        """What the engine itself counts; None where another server publishes it (Triton's metrics)."""
        ...
