"""What an API makes of answers: one body, or a stream of server-sent events."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import BaseModel
from pydantic_core import to_json

from slipway.contract.errors import SlipwayError
from slipway.gateway.answers.answer import Answer, Piece
from slipway.gateway.shapes.usage import Usage
from slipway.text.parts import AnswerText

DONE = b"data: [DONE]\n\n"
# A comment, which clients of server-sent events ignore.
COMMENT = b": keep-alive\n\n"
_BREAKS = tuple((each.encode(), b"\\u%04x" % ord(each)) for each in "\x85\u2028\u2029")


@dataclass(frozen=True, slots=True)
class Head:
    """What every body and chunk for one request repeats. created: seconds since 1970."""

    id: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))


class Reply(Protocol):
    """One endpoint's shapes, for one request. Fields that a shape leaves unset are left out of the JSON.

    A stream is opening, pieces and closing; a failure takes the place of what is left of them.
    """

    def body(self, answers: Sequence[Answer], usage: Usage) -> BaseModel:
        """The body of answers that are not streamed."""
        ...

    def opening(self, count: int) -> bytes:
        """The events before the first piece of `count` answers, if the endpoint has some."""
        ...

    def piece(self, piece: Piece) -> bytes:
        """The events of a piece of an answer."""
        ...

    def closing(self, usage: Usage) -> bytes:
        """The events after the last piece of all."""
        ...

    def failure(self, error: SlipwayError) -> bytes:
        """The last events of a stream that cannot go on."""
        ...

    def keep_alive(self) -> bytes:
        """An event without content, which keeps proxies from closing a silent stream."""
        ...


def as_json(data: BaseModel) -> bytes:
    """With the fields that were set."""
    return data.model_dump_json(exclude_unset=True).encode()


def event(data: BaseModel) -> bytes:
    """One event as OpenAI frames it: JSON in one `data:` line."""
    return b"data: " + _in_one_line(as_json(data)) + b"\n\n"


def named_event(name: str, data: BaseModel) -> bytes:
    """One event with its name in a line of its own, as newer APIs have them."""
    return b"event: " + name.encode() + b"\n" + event(data)


class TextEvent:
    """Events that differ only in their text; the rest of them is serialized once, because they are many.

    form: such an event, whose text is PLACE.
    """

    PLACE = "\0text\0"  # No other text of an event has control characters.

    def __init__(self, form: bytes) -> None:
        self._before, self._after = form.split(to_json(self.PLACE))

    def of(self, text: str) -> bytes:
        """The event with this text."""
        return self._before + _in_one_line(to_json(text)) + self._after


def _in_one_line(json: bytes) -> bytes:
    """The same JSON, without the characters that Python's str.splitlines takes for line breaks.

    JSON escapes all other line breaks. These three can only be within its strings.
    """
    for character, escaped in _BREAKS:
        json = json.replace(character, escaped)
    return json


def only_text(piece: Piece) -> str | None:
    """The text of a piece that has nothing else, as nearly all pieces."""
    if piece.finish_reason is None and not piece.chosen and len(piece.parts) == 1:
        (part,) = piece.parts
        return part.text if isinstance(part, AnswerText) else None
    return None
