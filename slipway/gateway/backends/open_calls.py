"""The calls to Triton that wait for answers of one model, ended when a stage of the model dies.

Triton 2.51 leaves a stream open whose stage has died, so nothing else would end it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from tritonclient.grpc import InferResult

from slipway.contract.errors import EngineFailed, ModelUnavailable, SlipwayError
from slipway.gateway.backends.stage_probes import StageDead

# Triton takes a second to say that a stage is dead, so its streams end after three.
_ASK_EVERY_S = 0.5
# On a machine without a free core, Triton may call a stage dead that only waited for a second.
DEAD_ANSWERS = 2

# The responses of one call; at its end an error or None.
Arrived = asyncio.Queue[InferResult | SlipwayError | None]


class OpenCalls:
    """Asks the stages twice a second while there are calls. Lives in one event loop."""

    def __init__(self, ask_stages: Callable[[], Awaitable[None]]) -> None:
        """ask_stages: raises StageDead when one has died, ModelUnavailable when one does not answer now."""
        self._ask_stages = ask_stages
        self._calls: set[Arrived] = set()
        self._watcher: asyncio.Task[None] | None = None

    @contextmanager
    def watched(self, call: Arrived) -> Iterator[None]:
        """While the block waits for a call, put an error into it when a stage died."""
        self._calls.add(call)
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            self._calls.discard(call)

    async def close(self) -> None:
        """Stop asking."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])

    async def _watch(self) -> None:
        dead_answers = 0
        while True:
            await asyncio.sleep(_ASK_EVERY_S)
            if not self._calls:
                break
            try:
                await self._ask_stages()
            except StageDead as error:
                dead_answers += 1
                if dead_answers >= DEAD_ANSWERS:
                    self._end_all(error)
            except ModelUnavailable:
                continue  # It is busy, or starts its engine again, which ends the answers itself.
            else:
                dead_answers = 0
        self._watcher = None

    def _end_all(self, error: StageDead) -> None:
        for call in self._calls:
            call.put_nowait(EngineFailed(f"{error} The answer ends here; send the request again."))
