"""A few threads that clients share fairly, for work that would hold up the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from itertools import count
from typing import TypeVar

from slipway.gateway.errors import ServerBusy
from slipway.gateway.fair_queue import FairQueue, Ticket

T = TypeVar("T")


class FairThreads:
    """Runs work in `threads` threads. Clients take turns, and one alone has half of them at most."""

    def __init__(self, threads: int, bound: int, what: str) -> None:
        """bound: pieces of work of one client at once, with those that wait.

        what: such as "long bodies"; an error says that there are too many.
        """
        self._queue = FairQueue(threads, reserve=threads // 2, always=True)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=what)
        self._bound = bound
        self._what = what
        self._arrivals = count()

    async def run(self, client: str, work: Callable[[], T]) -> T:
        """Return what `work` returns, when the client's turn has come.

        Cancelled before that, the work is never done. Raises ServerBusy past the bound.
        """
        if self._queue.held_by(client) >= self._bound:
            raise ServerBusy(
                f"The server works on {self._bound} {self._what} of this client; send the next when these "
                "are done."
            )
        ticket = Ticket(self._queue.leave, client, (0, next(self._arrivals)))
        self._queue.join([ticket])
        loop = asyncio.get_running_loop()
        try:
            await ticket.granted()
            working = self._threads.submit(copy_context().run, work)
        except BaseException:
            self._queue.leave(ticket)
            raise
        # A thread cannot be interrupted, so its place is free only when it has ended.
        working.add_done_callback(lambda _: _call_in(loop, partial(self._queue.leave, ticket)))
        return await asyncio.wrap_future(working)

    def close(self) -> None:
        """Begin no more work."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _call_in(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)
