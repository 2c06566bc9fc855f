"""Responses that a later request may continue, in memory and bounded.

Each process of a server has its own.
"""

from collections import OrderedDict
from dataclasses import dataclass

from pydantic_core import to_json

from slipway.gateway.errors import ResponseNotFound
from slipway.gateway.query import Message

MAX_RESPONSES = 1000
MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response that ended.

    body: as JSON.
    messages: the conversation up to it and with it, without instructions.
    owner: the name of the key that asked for it and may see it; None where the server has no keys.
    """

    body: bytes
    messages: tuple[Message, ...]
    owner: str | None = None

    @property
    def characters(self) -> int:
        """Of the texts of the conversation."""
        return sum(len(message.content or "") for message in self.messages)


class ResponseStore:
    """The responses used last, up to a number and up to their size as JSON."""

    def __init__(self, max_responses: int = MAX_RESPONSES, max_bytes: int = MAX_BYTES) -> None:
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, tuple[StoredResponse, int]] = OrderedDict()
        self._bytes = 0

    def put(self, name: str, kept: StoredResponse) -> None:
        """Keep it, and drop those used longest ago; itself too, where it is larger than the store."""
        self._forget(name)
        size = len(kept.body) + len(to_json(kept.messages))
        self._kept[name] = kept, size
        self._bytes += size
        while len(self._kept) > self._max_responses or self._bytes > self._max_bytes:
            self._forget(next(iter(self._kept)))

    def get(self, name: str, owner: str | None = None, param: str = "response_id") -> StoredResponse:
        """Raises ResponseNotFound. param: the client's field that has `name`."""
        kept, _ = self._kept.get(name, (None, 0))
        if kept is None or kept.owner != owner:
            raise ResponseNotFound(
                f"{param} is {name[:100]!r}, and no such response is kept: never stored, deleted, or "
                f"dropped, because each process of this server keeps the {self._max_responses} used last in "
                f"memory, up to {self._max_bytes} bytes; send the whole conversation as input.",
                param,
            )
        self._kept.move_to_end(name)
        return kept

    def delete(self, name: str, owner: str | None = None) -> None:
        """Raises ResponseNotFound."""
        self.get(name, owner)
        self._forget(name)

    def _forget(self, name: str) -> None:
        _, size = self._kept.pop(name, (None, 0))
        self._bytes -= size
