"""Places that clients share, such as those of an engine, and the queue of those that wait for one."""

import asyncio
import time
from bisect import insort
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

# A client counts as present for this long after its last ticket, and up to twice as long.
_PRESENT_S = 600.0


class Ticket:
    """What holds a place or waits for one: `async with` waits for it and gives it back at the end.

    client: who waits. rank: lower ones of one client come first.
    began: when it got its place, as `time.monotonic` counts; 0 before.
    """

    __slots__ = ("_granted", "_leave", "began", "client", "rank")

    def __init__(self, leave: Callable[["Ticket"], object], client: str, rank: tuple[int, int]) -> None:
        """leave: takes the ticket out of its queue."""
        self._leave = leave
        self._granted = asyncio.Event()
        self.client = client
        self.rank = rank
        self.began = 0.0

    def grant(self) -> None:
        """Let it start: there is a place for it."""
        self.began = time.monotonic()
        self._granted.set()

    async def granted(self) -> None:
        """Return when it has its place."""
        await self._granted.wait()

    async def __aenter__(self) -> Self:
        await self.granted()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(self)


class _Client:
    """waiting: its tickets by rank. seen: when it was last here.

    served: the number of its last grant, or of the last one before it came.
    """

    __slots__ = ("running", "seen", "served", "waiting")

    def __init__(self, served: int) -> None:
        self.waiting: list[Ticket] = []
        self.running: set[Ticket] = set()
        self.served = served
        self.seen = 0.0

    def precedence(self) -> tuple[int, int]:
        """The lowest goes first."""
        return len(self.running), self.served


class FairQueue:
    """A free place goes to the client that holds the fewest; among equals, to the one served longest ago.

    So each client gets its share, however many tickets another one has. Within a client, rank decides.
    held: tickets that run or wait.
    """

    def __init__(self, places: int, reserve: int, always: bool = False) -> None:
        """reserve: places that one client cannot have while another is present.

        always: nor at any other time.
        """
        self.places = places
        self._reserve = reserve
        self._always = always
        self._clients: dict[str, _Client] = {}
        self._queued: dict[str, _Client] = {}  # those with a waiting ticket
        self._grants = 0
        self._taken = 0
        self._forgot = 0.0
        self.held = 0

    @property
    def running(self) -> list[Ticket]:
        """The tickets that hold a place."""
        return [ticket for each in self._clients.values() for ticket in each.running]

    @property
    def waiting(self) -> dict[str, int]:
        """How many tickets wait, by client; no client without one."""
        return {name: len(each.waiting) for name, each in self._queued.items()}

    def held_by(self, client: str) -> int:
        """How many tickets of a client are here, running or waiting."""
        found = self._clients.get(client)
        return 0 if found is None else len(found.running) + len(found.waiting)

    def join(self, tickets: Sequence[Ticket]) -> None:
        """Add tickets. Each waits until it is granted."""
        now = time.monotonic()
        self._forget_absent(now)
        self.held += len(tickets)
        for ticket in tickets:
            # A new client comes behind those that wait already.
            client = self._clients.setdefault(ticket.client, _Client(self._grants))
            client.seen = now
            self._queued[ticket.client] = client
            insort(client.waiting, ticket, key=lambda each: each.rank)
        self._advance()

    def leave(self, ticket: Ticket) -> bool:
        """Take a ticket out, whether it runs or waits, if it is here. Returns whether it held a place."""
        client = self._clients.get(ticket.client)
        if client is None:
            return False
        client.seen = time.monotonic()
        if ticket in client.running:
            client.running.discard(ticket)
            self.held -= 1
            self._taken -= 1
            self._advance()
            return True
        if ticket in client.waiting:
            self._take_from(client, client.waiting.index(ticket))
            self.held -= 1
        return False

    def _advance(self) -> None:
        while self._taken < self.places and (client := self._next()) is not None:
            ticket = self._take_from(client, 0)
            client.running.add(ticket)
            self._grants += 1
            client.served = self._grants
            self._taken += 1
            ticket.grant()

    def _next(self) -> _Client | None:
        """The client that gets the next place."""
        share = self.places
        if self._always or len(self._clients) > 1:
            share -= self._reserve
        able = (each for each in self._queued.values() if len(each.running) < share)
        return min(able, key=_Client.precedence, default=None)

    def _take_from(self, client: _Client, index: int) -> Ticket:
        """Take out a waiting ticket of `client`."""
        ticket = client.waiting.pop(index)
        if not client.waiting:
            del self._queued[ticket.client]
        return ticket

    def _forget_absent(self, now: float) -> None:
        if now - self._forgot < _PRESENT_S:
            return
        self._forgot = now
        for name, client in list(self._clients.items()):
            if not client.waiting and not client.running and now - client.seen > _PRESENT_S:
                del self._clients[name]
