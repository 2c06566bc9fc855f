"""A connection that ends when its client reads nothing for a while."""

import asyncio
from typing import Any

# How often progress is looked at, in parts of the time that a client has.
_LOOKS = 4


class WatchedTransport:
    """asyncio's transport, which closes the connection when what was written to it stays unread.

    stall_s: seconds in which a client must read something, as long as there is something to read.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, stall_s: float) -> None:
        self._transport = transport
        self._loop = loop
        self._stall_s = stall_s
        self._written = 0
        self._watching = False

    def __getattr__(self, name: str) -> Any:
        """Everything that this class does not have is the transport's own."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, and watch whether the client reads."""
        self._written += len(data)
        self._transport.write(data)
        if not self._watching:
            self._watching = True
            self._look_later(self._read(), self._loop.time())

    def _read(self) -> int:
        """How many bytes have left for the client."""
        return self._written - self._transport.get_write_buffer_size()

    def _look_later(self, read: int, since: float) -> None:
        """Look again soon. read: the bytes that had left at the time `since`."""
        self._loop.call_later(self._stall_s / _LOOKS, self._look, read, since)

    def _look(self, read: int, since: float) -> None:
        now = self._loop.time()
        if not self._transport.get_write_buffer_size():
            self._watching = False
        elif self._read() > read:
            self._look_later(self._read(), now)
        elif now - since < self._stall_s:
            self._look_later(read, since)
        else:
            self._transport.abort()
