"""A bounded queue before an engine: which answer is generated next."""

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

# The last answers, whose mean time tells how fast the queue moves.
_REMEMBERED = 32


class Turn:
    """One answer's turn at the engine: `async with` waits for a place and gives it back at the end.

    tokens: generated so far. reasoning_tokens: those of them that were reasoning.
    first: when the first token came, as `time.monotonic` counts; 0 before.
    answered: when the first that was no reasoning came; 0 before.
    """

    __slots__ = (
        "_granted",
        "_queue",
        "answered",
        "began",
        "first",
        "rank",
        "reasoning_tokens",
        "tokens",
    )

    def __init__(self, queue: "EngineQueue", rank: tuple[int, int]) -> None:
        self._queue = queue
        self._granted = asyncio.Event()
        self.rank = rank
        self.began = self.first = self.answered = 0.0
        self.tokens = self.reasoning_tokens = 0

    def grant(self) -> None:
        """Let the answer start: the queue has a place for it."""
        self.began = time.monotonic()
        self._granted.set()

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

    async def __aenter__(self) -> Self:
        await self._granted.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.leave(self)


class EngineQueue:
    """As many answers run as the engine has slots. Others wait by priority, then by arrival."""

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
        """`count` turns, which join the queue together; those that are not over at the end leave it.

        priority: lower ones come first. field: the client's field that asks for `count` answers.
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
            # From the last, so that no turn gets a place only to leave it.
            for turn in reversed(taken):
                self.leave(turn)

    def leave(self, turn: Turn) -> None:
        """Free the place of `turn`, whether it runs or waits."""
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
        room = self._places + self._bound
        if count > room:
            raise InvalidRequest(
                f"{field} makes {count} answers, and {self._model} has room for {room} at once, with those "
                "that wait; ask for fewer, or start the server with a larger --max-queue.",
                field,
            )
        missing = len(self._running) + len(self._waiting) + count - room
        if missing > 0:
            self.refused += 1
            seconds = self._seconds_until(missing)
            raise QueueFull(
                f"{self._model} is busy: {len(self._waiting)} answers wait for it, its queue takes "
                f"{self._bound}, and this request asks for {count}; send it again in about {seconds} s.",
                seconds,
            )

    def _seconds_until(self, missing: int) -> int:
        """Seconds until `missing` places are free, by the time that the last answers took."""
        if not self._seconds:
            return 1
        mean = sum(self._seconds) / len(self._seconds)
        return max(1, ceil(missing * mean / self._places))


def _ahead(slots: int) -> int:
    """How many answers wait in the engine itself, so that a slot that becomes free has the next one at once.

    Few answers end in the same step. Each answer in the engine can no longer be overtaken by priority.
    """
    return 1 + slots // 8
