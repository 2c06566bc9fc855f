"""What a backend is: one engine that generates answers, behind Triton or on this machine.

A request passes through it like this:
1. `check` passes, or the client gets a 503.
2. The request waits in the model's queue for a free slot of the engine.
3. `generate` sends it to the engine: by gRPC to Triton, or by a pipe to the engine's process.
4. The engine sends tokens; `generate` yields each batch of them as a `Delta` with its text.
5. The last `Delta` has the finish reason.
6. If the client leaves, the gateway closes the generator, and the engine frees the slot.
"""

from collections.abc import AsyncGenerator
from typing import Protocol

from slipway.contract.generation import Delta, GenerationRequest
from slipway.runtime.stats import EngineStats


class Backend(Protocol):
    """One engine."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """Yield the answer in pieces: their joined texts are the answer, the last has the finish reason.

        Closing the generator, or cancelling the task that waits in it, ends the generation in the engine.
        Raises ModelUnavailable, InvalidRequest or EngineFailed.
        """
        ...

    async def check(self) -> None:
        """Raise ModelUnavailable with the reason unless the engine takes requests.

        Cheap enough for each request: the answer may be a second old.
        """
        ...

    async def probe(self) -> None:
        """Like `check`, but ask the engine itself. For health checks, not for each request."""
        ...

    async def load(self) -> None:
        """Load the engine and return when it is ready.

        Raises ModelUnavailable or EngineRefused with the reason.
        """
        ...

    async def unload(self) -> None:
        """Refuse requests until `load`, and return when the last one has ended and the memory is free.

        Raises NotOffered, ModelUnavailable or EngineRefused.
        """
        ...

    async def close(self) -> None:
        """End every generation and disconnect from the engine."""
        ...

    @property
    def stats(self) -> EngineStats | None:
        """The engine's own figures; None behind Triton, which publishes them on its metrics port."""
        ...
