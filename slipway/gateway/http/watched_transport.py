"""A connection that ends when its client reads nothing for a while."""

import asyncio
import socket
import struct
import sys
from typing import Any

# How often progress is looked at, in parts of the time that a client has.
_LOOKS = 4
# struct linger: on, for 0 seconds.
_AT_ONCE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


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
            # The kernel too forgets what is unread; else it would offer it for minutes.
            connection = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self._transport.abort()
