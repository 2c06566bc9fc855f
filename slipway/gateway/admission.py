"""Whose answer is generated now: a bounded queue before each engine; `http.visit` takes turns from it."""

import asyncio
import time
from bisect import insort
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from types import TracebackType
from typing import Self

from slipway.contract.errors import InvalidRequest
from slipway.gateway.errors import QueueFull

# Answers whose time tells how fast the queue moves.
_REMEMBERED = 32


class Turn:
    """One answer's turn at the engine: `async with` waits for a place and gives it back at the end.

    tokens: generated so far. first: when the first came, as `time.monotonic` counts; 0 before.
    """

    __slots__ = ("_granted", "_queue", "began", "first", "rank", "tokens")

    def __init__(self, queue: "Queue", rank: tuple[int, int]) -> None:
        self._queue = queue
        self._granted = asyncio.Event()
        self.rank = rank
        self.began = self.first = 0.0
        self.tokens = 0

    def grant(self) -> None:
        """Called by the queue when there is a place."""
        self.began = time.monotonic()
        self._granted.set()

    def count(self, tokens: int) -> None:
        """Called by `gateway.answers.answer` with what was generated since the last time."""
        if tokens and not self.tokens:
            self.first = time.monotonic()
        self.tokens += tokens

    async def __aenter__(self) -> Self:
        await self._granted.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.leave(self)


class Queue:
    """Before one engine: as many answers as it has slots run, others wait by priority, then by arrival."""

    def __init__(self, model: str, slots: int, bound: int) -> None:
        """bound: how many answers may wait."""
        self._model = model
        self._places = slots + _ahead(slots)
        self._bound = bound
        self._running: set[Turn] = set()
        self._waiting: list[Turn] = []
        self._arrivals = 0
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)
        self.refused = 0

    @property
    def waiting(self) -> int:
        """Answers that wait."""
        return len(self._waiting)

    @contextmanager
    def turns(self, count: int, priority: int, field: str) -> Iterator[list[Turn]]:
        """`count` turns, all in line at once; those not over at the end leave it.

        priority: lower ones come first. field: of the body, which says how many.
        Raises QueueFull with the time until there is room, InvalidRequest when there never is.
        """
        self._check_room(count, field)
        taken = [self._turn(priority) for _ in range(count)]
        for turn in taken:
            insort(self._waiting, turn, key=lambda each: each.rank)
        self._advance()
        try:
            yield taken
        finally:
            # From the end, so that none is granted a place only to leave it.
            for turn in reversed(taken):
                self.leave(turn)

    def leave(self, turn: Turn) -> None:
        """Let go of the place of `turn`, or of its place in line; nothing where it has neither."""
        if turn in self._running:
            self._running.discard(turn)
            self._seconds.append(time.monotonic() - turn.began)
            self._advance()
        elif turn in self._waiting:
            self._waiting.remove(turn)

    def _turn(self, priority: int) -> Turn:
        self._arrivals += 1
        return Turn(self, (priority, self._arrivals))

    def _advance(self) -> None:
        while self._waiting and len(self._running) < self._places:
            turn = self._waiting.pop(0)
            self._running.add(turn)
            turn.grant()

    def _check_room(self, count: int, field: str) -> None:
        most = self._places + self._bound
        if count > most:
            raise InvalidRequest(
                f"{field} makes {count} answers, and {self._model} has room for {most} at once, with those "
                "that wait; ask for fewer, or start the server with a larger --max-queue.",
                field,
            )
        missing = len(self._running) + len(self._waiting) + count - most
        if missing > 0:
            self.refused += 1
            seconds = self._seconds_until(missing)
            raise QueueFull(
                f"{self._model} is busy: {len(self._waiting)} answers wait for it, its queue takes "
                f"{self._bound}, and this request asks for {count}; send it again in about {seconds} s.",
                seconds,
            )

    def _seconds_until(self, missing: int) -> int:
        """Until so many places are free, by the time that the last answers took."""
        if not self._seconds:
            return 1
        mean = sum(self._seconds) / len(self._seconds)
        return max(1, ceil(missing * mean / self._places))


def _ahead(slots: int) -> int:
    """How many wait in the engine beside its slots, so that whoever's slot comes free finds the next there.

    Answers that end in the same step are few; each more would be out of reach of a better priority.
    """
    return 1 + slots // 8
