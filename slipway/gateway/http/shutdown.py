"""The end of the server: first it drains, then it stops."""

import asyncio
import time

from slipway.gateway.errors import ServerStopping


class Shutdown:
    """The two steps of the end.

    draining: set when the server takes no more requests. Those that it has taken run on.
    stopping: set when the answers that still run must end, each with an error.
    """

    def __init__(self) -> None:
        self.draining = asyncio.Event()
        self.stopping = asyncio.Event()
        self._began = 0.0

    def begin(self) -> None:
        """Take no more requests from now on. Only the first call counts."""
        if not self.draining.is_set():
            self._began = time.monotonic()
            self.draining.set()

    @property
    def seconds(self) -> float:
        """Since the server began to drain."""
        return time.monotonic() - self._began

    def check(self) -> None:
        """Raise ServerStopping when the server takes no more requests."""
        if self.draining.is_set():
            raise ServerStopping("The server is stopping; send the request again when it is back.")
