"""Events that wait to be sent to the parent process.

Every message costs time in each process on its way to the client, on the same cores as the engine. So when
many streams run, each gets the tokens of several steps in one message.
"""

from collections.abc import Sequence

from slipway.contract.errors import SlipwayError
from slipway.contract.generation import Delta
from slipway.runtime.sequence import Event, joined

# Seconds between two messages, per running stream: a single stream gets every step, each of sixteen gets 12
# messages a second.
PAUSE_PER_STREAM = 0.005
# Seconds; with any number of streams an answer must not stutter.
MAX_PAUSE = 0.1


class EventBuffer:
    """The events of running streams, in their order.

    The first token of an answer and its end are never held back. Nor is an event put with may_wait False.
    """

    def __init__(self) -> None:
        self._held: dict[str, list[Event]] = {}
        self._urgent: set[str] = set()
        self._emptied = 0.0

    def put(self, request_id: str, event: Event, may_wait: bool = True) -> None:
        """Add what a step did for a stream."""
        self._held.setdefault(request_id, []).append(event)
        if not may_wait or _is_urgent(event):
            self._urgent.add(request_id)

    def take(self, now: float, running: int) -> tuple[tuple[str, Event], ...]:
        """The events to send now: all of them if the last time was long ago, else the urgent ones.

        now: seconds on any clock. running: how many streams there are.
        """
        if now - self._emptied >= min(running * PAUSE_PER_STREAM, MAX_PAUSE):
            self._emptied = now
            taken, self._held = self._held, {}
        else:
            urgent = [request_id for request_id in self._held if request_id in self._urgent]
            taken = {request_id: self._held.pop(request_id) for request_id in urgent}
        self._urgent.clear()
        return tuple((request_id, event) for request_id, events in taken.items() for event in _joined(events))


def _is_urgent(event: Event) -> bool:
    if isinstance(event, SlipwayError):
        return True
    return event.finish_reason is not None or event.cached_tokens is not None


def _joined(events: Sequence[Event]) -> list[Event]:
    """The deltas as one, and the error that came after them."""
    deltas = [event for event in events if isinstance(event, Delta)]
    if len(deltas) < 2:
        return list(events)
    return [joined(deltas), *events[len(deltas) :]]
