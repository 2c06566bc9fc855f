"""The answers that a stage is giving at the moment."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from slipway.contract.errors import InvalidRequest

# How often to check whether clients left: asking Triton about a request costs about as much as a response.
_LOOK_EVERY_S = 0.25

T = TypeVar("T")


class RunningAnswers:
    """A thread with the event loop in which answers go to Triton, and the requests that they answer.

    cancel: ends the answer of this name in the engine, if it has one; called in the loop.
    """

    def __init__(self, cancel: Callable[[str], None]) -> None:
        self._cancel = cancel
        self._arrived = 0  # arrival of the last request
        # By name: the client's request id, Triton's response sender, and the task. Used in the loop only.
        self._open: dict[str, tuple[str, Any, asyncio.Task[None]]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="answers", daemon=True)
        self._thread.start()
        self._watch = asyncio.run_coroutine_threadsafe(self._cancel_abandoned(), self._loop)

    def __len__(self) -> int:
        return len(self._open)

    def arrival(self) -> int:
        """Nanoseconds of the steady clock, unique to this request.

        They name it, because clients may send no id, or the same one twice.
        """
        self._arrived = max(self._arrived + 1, time.monotonic_ns())
        return self._arrived

    def begin(self, name: str, request_id: str, sender: Any, answer: Coroutine[Any, Any, None]) -> None:
        """Start `answer`, which sends everything that the client gets, errors too."""
        self._loop.call_soon_threadsafe(self._begin, name, request_id, sender, answer)

    def stop(self, request_id: str) -> None:
        """End the answers with this id of the client, or with this name.

        As upstream, an unknown id is no error: the answer may just have ended.
        """
        if not request_id:
            raise InvalidRequest(
                "stop is set without a request id; give the id of the request to end.", "stop"
            )
        self._loop.call_soon_threadsafe(self._stop, request_id)

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def finish(self, ending: Coroutine[Any, Any, None]) -> None:
        """Run `ending`, which ends all answers in the engine; wait until they are sent; end the thread."""
        self._watch.cancel()
        self.wait_for(self._finish(ending))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _begin(self, name: str, request_id: str, sender: Any, answer: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(self._run(name, answer))
        self._open[name] = (request_id, sender, task)

    async def _run(self, name: str, answer: Coroutine[Any, Any, None]) -> None:
        try:
            await answer
        finally:
            # In the same step as the last response: Triton 2.51 crashes if asked about a sender later.
            del self._open[name]

    def _named(self, request_id: str) -> list[str]:
        return [name for name, (client_id, _, _) in self._open.items() if request_id in (client_id, name)]

    def _stop(self, request_id: str) -> None:
        for name in self._named(request_id):
            self._cancel(name)

    async def _cancel_abandoned(self) -> None:
        """Cancel the answers of clients that called this stage directly and left.

        Triton does not pass a cancellation through an ensemble; there, postprocessing notices it.
        """
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            for name, (_, sender, _) in self._open.items():
                if sender.is_cancelled():
                    self._cancel(name)

    async def _finish(self, ending: Coroutine[Any, Any, None]) -> None:
        await ending
        if self._open:
            await asyncio.wait([task for _, _, task in self._open.values()])
