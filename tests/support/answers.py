"""A request to an engine in process, heard from the client's side; for tests/integration."""

import queue
import time
from collections.abc import Callable
from dataclasses import replace

from slipway.contract.errors import SlipwayError
from slipway.contract.generation import Delta, SamplingParams
from slipway.runtime.engine import Engine
from slipway.runtime.sequence import Event, joined


class Answer:
    """One request, heard from the client's side."""

    def __init__(self, engine: Engine, request_id: str, prompt: list[int], sampling: SamplingParams) -> None:
        self.request_id = request_id
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        engine.submit(request_id, prompt, sampling, self._events.put)

    def next(self) -> Delta:
        event = self._events.get(timeout=60)
        if isinstance(event, SlipwayError):
            raise event
        return event

    def rest(self) -> list[Delta]:
        deltas = [self.next()]
        while deltas[-1].finish_reason is None:
            deltas.append(self.next())
        return deltas

    def exact(self) -> Delta:
        """The whole answer, without what the prefix cache spared, which depends on who was here before.

        How many tokens came in a step depends on drafts, and these on how fast the machine is just now.
        """
        return replace(joined(self.rest()), cached_tokens=None)

    def tokens(self) -> list[int]:
        return [token for delta in self.rest() for token in delta.token_ids]

    def waiting(self) -> int:
        """How many events are there that nobody has taken yet."""
        return self._events.qsize()

    def heard(self) -> int:
        """Take the events that are there already; how many tokens they bring."""
        count = 0
        while not self._events.empty():
            count += self.next().token_count
        return count


def wait_until(condition: Callable[[], bool]) -> float:
    """Seconds until it holds."""
    start = time.perf_counter()
    while not condition():
        assert time.perf_counter() - start < 30
        time.sleep(0.001)
    return time.perf_counter() - start
