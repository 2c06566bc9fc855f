"""A request to an engine in process, and its answer."""

import queue
from dataclasses import replace

from slipway.contract.errors import SlipwayError
from slipway.contract.generation import Delta, SamplingParams
from slipway.runtime.engine import Engine
from slipway.runtime.sequence import Event, joined


class Answer:
    """One request. The methods take the events of its answer."""

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
        """The whole answer as one delta, without `cached_tokens`, which depends on earlier requests.

        The steps are joined: the number of tokens in a step depends on drafts, and so on the machine's speed.
        """
        return replace(joined(self.rest()), cached_tokens=None)

    def tokens(self) -> list[int]:
        return [token for delta in self.rest() for token in delta.token_ids]

    def waiting(self) -> int:
        """The number of events that have come and are not taken yet."""
        return self._events.qsize()

    def heard(self) -> int:
        """Take the events that have come, and return the number of their tokens."""
        count = 0
        while not self._events.empty():
            count += self.next().token_count
        return count
