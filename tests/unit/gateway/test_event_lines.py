"""Server-sent events for clients that split lines by str.splitlines, as httpx does."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Callable

import pytest

from slipway.contract.errors import EngineFailed
from slipway.gateway.answers.answer import Piece
from slipway.gateway.chat.reply import ChatReply
from slipway.gateway.completions.reply import CompletionReply
from slipway.gateway.http.deadline import Deadline
from slipway.gateway.http.sse import EventStream
from slipway.gateway.messages.reply import MessagesReply
from slipway.gateway.responses.object import ResponseObject
from slipway.gateway.responses.reply import ResponsesReply
from slipway.gateway.responses.schema import ResponsesRequest
from slipway.gateway.shapes.parsing import parse
from slipway.gateway.shapes.reply import Head, Reply
from slipway.gateway.shapes.usage import Usage
from slipway.text.parts import AnswerReasoning, AnswerText, CallArguments, CallStart, Part

BREAKS = [chr(code) for code in range(sys.maxunicode) if len(f"a{chr(code)}b".splitlines()) > 1]
TEXT = "".join(f"{each}{ord(each):x}" for each in BREAKS)
HEAD = Head("x", f"model{TEXT}", 1)
ARGUMENTS = json.dumps({"place": TEXT}, ensure_ascii=False)


def responses() -> ResponsesReply:
    body = parse(json.dumps({"model": "m", "input": "Hi"}).encode(), ResponsesRequest)
    return ResponsesReply(ResponseObject.started(HEAD, body), lambda response, messages: None)


REPLIES: list[Callable[[], Reply]] = [
    lambda: ChatReply(HEAD, with_usage=True),
    lambda: CompletionReply(HEAD, echoes=[TEXT]),
    lambda: MessagesReply(HEAD, 5, ["END"]),
    responses,
]


@pytest.mark.parametrize("make", REPLIES, ids=["chat", "completions", "messages", "responses"])
def test_every_event_is_one_line_of_json_for_every_reader_of_lines(make: Callable[[], Reply]) -> None:
    assert {"\x85", "\u2028", "\u2029"} <= set(BREAKS)
    reply, parts = make(), _parts(make())
    pieces = [*(Piece((part,), 1) for part in parts), Piece((), 0, "stop")]
    sent = reply.opening(1) + b"".join(map(reply.piece, pieces)) + reply.keep_alive()
    sent += reply.closing(Usage.of(5, 8, [])) + make().failure(EngineFailed(f"It broke{TEXT}."))
    lines = [line for line in sent.decode().splitlines() if line]
    told = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert all(line.startswith(("data: ", "event: ", ": ")) for line in lines)
    assert sent.count(b"data: ") == len(told)
    shown = json.dumps([json.loads(line) for line in told if line != "[DONE]"])
    assert json.dumps(TEXT)[1:-1] in shown, "and the characters themselves arrive"


def _parts(reply: Reply) -> list[Part]:
    text: list[Part] = [AnswerText(TEXT), AnswerText(TEXT)]
    if isinstance(reply, CompletionReply):
        return text
    return [AnswerReasoning(TEXT), *text, CallStart(0, "weather"), CallArguments(0, ARGUMENTS)]


def test_an_event_stream_says_that_it_is_utf_8() -> None:
    """Python's requests would read Latin-1, in which half the letters of UTF-8 end a line."""

    async def no_events() -> AsyncGenerator[bytes, None]:
        yield b""

    stream = EventStream(ChatReply(HEAD), no_events(), asyncio.Event(), Deadline(0, 60))
    assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
