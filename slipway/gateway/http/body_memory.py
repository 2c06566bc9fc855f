"""How many bytes of request bodies the server has in memory, of all clients and of each."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from slipway.gateway.errors import ServerBusy

# Bytes. A body of up to 8 KiB takes about 2 ms to read and tokenize, and always has room.
SMALL_BODY = 8192


class BodyMemory:
    """Refuses a body when all bodies together would be too large, or those of one client over half of it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: Counter[str] = Counter()

    @contextmanager
    def share(self, client: str) -> Iterator[Callable[[int], None]]:
        """Yield the function that says how long the client's body is so far; the bytes are free at the end.

        That function raises ServerBusy.
        """
        held = 0

        def hold(length: int) -> None:
            nonlocal held
            if length > SMALL_BODY:
                self._check(client, length - held)
                self._held[client] += length - held
                held = length

        try:
            yield hold
        finally:
            self._held[client] -= held
            if not self._held[client]:
                del self._held[client]

    def _check(self, client: str, more: int) -> None:
        if self._held.total() + more > self._max_bytes:
            raise ServerBusy(
                f"The bodies of all requests have more than {self._max_bytes} bytes; send the request again "
                "later, or start the server with a larger --max-bodies-bytes."
            )
        if self._held[client] + more > self._max_bytes // 2:
            raise ServerBusy(
                f"The bodies of this client's requests have more than {self._max_bytes // 2} bytes; send the "
                "next when earlier ones are answered, or start the server with a larger --max-bodies-bytes."
            )
