"""A bounded, fair queue before an engine: which answer is generated next."""

import random
import time
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

from slipway.contract.errors import InvalidRequest
from slipway.gateway.errors import QueueFull
from slipway.gateway.fair_queue import FairQueue, Ticket

# The last answers, whose mean time tells how fast the queue moves.
_REMEMBERED = 32
# All clients together may have this many times the answers of one in the queue.
_FULL_CLIENTS = 8
# Refused requests that are counted until they come back, in queues of one client.
_PROMISED_QUEUES = 9
_MAX_WAIT_S = 3600
# After the time that it was told, which is rounded up to seconds.
_COMES_BACK_WITHIN_S = 5.0
# Of an answer, where none has ended or run yet.
_LEAST_S = 0.001
# Around the time told to a refused request, so that not all come back at once.
_JITTER = 0.1
# An engine with fewer slots would lose too much by keeping one free.
_SLOTS_TO_RESERVE = 4


class Turn(Ticket):
    """One answer's turn at the engine.

    tokens: generated so far. reasoning_tokens: those of them that were reasoning.
    first: when the first token came, as `time.monotonic` counts; 0 before.
    answered: when the first that was no reasoning came; 0 before.
    """

    __slots__ = ("answered", "first", "reasoning_tokens", "tokens")

    def __init__(self, queue: "EngineQueue", client: str, rank: tuple[int, int]) -> None:
        super().__init__(queue.leave, client, rank)
        self.first = self.answered = 0.0
        self.tokens = self.reasoning_tokens = 0

    def count(self, tokens: int) -> None:
        """Add tokens that were generated."""
        if tokens and not self.tokens:
            self.first = time.monotonic()
        self.tokens += tokens

    def show(self, reasoning_tokens: int, answers: bool) -> None:
        """Add tokens that were reasoning. answers: whether something else than reasoning came."""
        self.reasoning_tokens += reasoning_tokens
        if answers and not self.answered:
            self.answered = time.monotonic()


class EngineQueue:
    """As many answers run as the engine has slots. Clients share them; a client's own go by priority."""

    def __init__(self, model: str, slots: int, bound: int, several_clients: bool = False) -> None:
        """bound: how many answers of one client may wait.

        several_clients: whether there are more than one for certain. One slot is then always kept from each.
        """
        self._model = model
        ahead = _ahead(slots)
        reserve = ahead + 1 if slots >= _SLOTS_TO_RESERVE else 0
        self._turns = FairQueue(slots + ahead, reserve, several_clients)
        self._bound = bound
        self._arrivals = 0
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)
        self._promises = _Promises(_PROMISED_QUEUES * (slots + ahead + bound))
        self.refused = 0

    @property
    def waiting(self) -> int:
        """Answers that wait."""
        return sum(self._turns.waiting.values())

    @contextmanager
    def turns(self, count: int, priority: int, field: str, client: str) -> Iterator[list[Turn]]:
        """`count` turns, which join the queue together; those that are not over at the end leave it.

        priority: a client's own answers with a lower one come first.
        field: the client's field that asks for `count` answers.
        Raises QueueFull with the time until these would start, InvalidRequest when they never do.
        """
        self._check_room(count, field, client)
        taken = [self._turn(client, priority) for _ in range(count)]
        self._turns.join(taken)
        try:
            yield taken
        finally:
            # From the last, so that no turn gets a place only to leave it.
            for turn in reversed(taken):
                self.leave(turn)

    def leave(self, turn: Ticket) -> None:
        """Free the place of `turn`, whether it runs or waits."""
        if self._turns.leave(turn):
            self._seconds.append(time.monotonic() - turn.began)

    def _turn(self, client: str, priority: int) -> Turn:
        self._arrivals += 1
        return Turn(self, client, (priority, self._arrivals))

    def _check_room(self, count: int, field: str, client: str) -> None:
        places = self._turns.places
        room = places + self._bound
        if count > room:
            raise InvalidRequest(
                f"{field} makes {count} answers, and {self._model} has room for {room} at once, with those "
                "that wait; ask for fewer, or start the server with a larger --max-queue.",
                field,
            )
        everyone = self._turns.held + count
        # Answers may take longer than was foreseen. One that waited as it was told need not wait once more.
        came_back = self._promises.claim(client, count, time.monotonic())
        own = room + self._bound if came_back else room
        if self._turns.held_by(client) + count <= own and everyone <= places + _FULL_CLIENTS * self._bound:
            return
        self.refused += 1
        seconds = self._promised_wait(count, client)
        waiting = self._turns.waiting.get(client, 0)
        raise QueueFull(
            f"{self._model} is busy: {self.waiting} answers wait for it, {waiting} of them yours, its queue "
            f"takes {self._bound} of one client and {_FULL_CLIENTS * self._bound} of all, and this request "
            f"asks for {count}; send it again in about {seconds} s.",
            seconds,
        )

    def _promised_wait(self, count: int, client: str) -> int:
        """Seconds until `count` further answers of a client would start, which are counted from now on.

        Before them come the client's own that wait or were told to come back, and as many of each other
        client, because clients take turns. Clients without a waiting answer are taken to keep their places.
        """
        now = time.monotonic()
        waiting, promised = self._turns.waiting, self._promises.outstanding(now)
        own = waiting.get(client, 0) + promised.get(client, 0) + count
        others = (waiting.keys() | promised.keys()) - {client}
        before = own + sum(min(own, waiting.get(each, 0) + promised.get(each, 0)) for each in others)
        kept = sum(1 for turn in self._turns.running if turn.client not in {client, *others})
        rate = max(1, self._turns.places - kept) / self._mean_seconds(now)
        seconds = min(_MAX_WAIT_S, before / rate * random.uniform(1 - _JITTER, 1 + _JITTER))
        self._promises.add(client, count, now + seconds)
        return max(1, ceil(seconds))

    def _mean_seconds(self, now: float) -> float:
        """Seconds that an answer takes: as the last ones did, but no less than those that run now."""
        running = [now - turn.began for turn in self._turns.running]
        return max(_mean(self._seconds), _mean(running), _LEAST_S)


class _Promises:
    """The answers that were refused and told when to come back, until they do."""

    def __init__(self, most: int) -> None:
        """most: of one client. Beyond it, they are refused requests that do not wait as they were told."""
        self._most = most
        self._due: dict[str, list[float]] = {}  # in ascending order

    def add(self, client: str, count: int, due: float) -> None:
        of_client = self._due.setdefault(client, [])
        for _ in range(count):
            insort(of_client, due)
        del of_client[: -self._most]

    def claim(self, client: str, count: int, now: float) -> bool:
        """Take out `count` answers of a client that are due, and return whether there were as many."""
        of_client = self._due.get(client, [])
        due = bisect_right(of_client, now)
        del of_client[: min(due, count)]
        return due >= count

    def outstanding(self, now: float) -> dict[str, int]:
        """How many are not due yet, by client. It forgets those that do not come for a while after that."""
        for client, due in list(self._due.items()):
            del due[: bisect_right(due, now - _COMES_BACK_WITHIN_S)]
            if not due:
                del self._due[client]
        counts = {client: len(due) - bisect_right(due, now) for client, due in self._due.items()}
        return {client: count for client, count in counts.items() if count}


def _mean(values: "deque[float] | list[float]") -> float:
    return sum(values) / len(values) if values else 0.0


def _ahead(slots: int) -> int:
    """How many answers wait in the engine itself, so that a slot that becomes free has the next one at once.

    Few answers end in the same step. Each answer in the engine can no longer be overtaken.
    """
    return 1 + slots // 8
