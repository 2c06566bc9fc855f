"""What an API makes of answers: one body, or a stream of server-sent events; one Reply per request.

`gateway.app` makes it, `gateway.sse` asks it for events. Each API has its own file beside this one.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import BaseModel

from engines.errors import SlipwayError
from gateway.answer import Piece, Whole
from gateway.api.usage import Usage

DONE = b"data: [DONE]\n\n"
# A comment, which every client of server-sent events passes over.
COMMENT = b": keep-alive\n\n"


@dataclass(frozen=True, slots=True)
class Head:
    """What every body and chunk for one request repeats. created: seconds since 1970."""

    id: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))


class Reply(Protocol):
    """One endpoint's shapes. Fields that a shape leaves unset are left out of the JSON.

    A stream is opening, pieces and closing, or failure in the place of what is left of them.
    """

    def whole(self, answers: Sequence[Whole], usage: Usage) -> BaseModel:
        """The body of answers that are not streamed."""
        ...

    def opening(self, count: int) -> bytes:
        """The events before the first piece of `count` answers, if the endpoint has some."""
        ...

    def piece(self, index: int, piece: Piece) -> bytes:
        """The events of a piece of the answer `index`; the last piece has its finish reason."""
        ...

    def closing(self, usage: Usage) -> bytes:
        """The events after the last piece of all."""
        ...

    def failure(self, error: SlipwayError) -> bytes:
        """The last events of a stream that cannot go on."""
        ...

    def keep_alive(self) -> bytes:
        """What says nothing, so that nobody on the way takes a silent stream for a dead one."""
        ...


def as_json(data: BaseModel) -> bytes:
    """With the fields that were set."""
    return data.model_dump_json(exclude_unset=True).encode()


def event(data: BaseModel) -> bytes:
    """One event as OpenAI frames it. JSON has no line break of its own, so one `data:` line holds it."""
    return b"data: " + as_json(data) + b"\n\n"


def named_event(name: str, data: BaseModel) -> bytes:
    """One event with its name in a line of its own, as newer APIs have them."""
    return b"event: " + name.encode() + b"\n" + event(data)
