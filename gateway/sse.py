"""Server-sent events as OpenAI frames them: one JSON document per event, `[DONE]` at the end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from engines.errors import SlipwayError
from gateway.choices import Choice
from gateway.connection import ClientLeft, attended, client_leaves
from gateway.errors import error_body
from gateway.replies import Reply
from gateway.responses import Usage

DONE = b"data: [DONE]\n\n"


def event(data: BaseModel) -> bytes:
    """One event. JSON has no line break of its own, so one `data:` line holds it."""
    return b"data: " + data.model_dump_json(exclude_unset=True).encode() + b"\n\n"


async def events(
    reply: Reply, choices: AsyncGenerator[Choice, None], count: int, prompt_tokens: int, with_usage: bool
) -> AsyncGenerator[bytes, None]:
    """`count` streamed answers, each with opening, texts and finish reason; usage if asked for; `[DONE]`."""
    for index in range(count):
        opening = reply.opening(index)
        if opening is not None:
            yield event(opening)
    tokens = 0
    cached_tokens: int | None = None
    async with aclosing(choices):
        async for choice in choices:
            index, piece = choice.index, choice.piece
            tokens += piece.tokens
            if index == 0:
                cached_tokens = piece.cached_tokens
            if piece.text:
                yield event(reply.text(index, piece.text))
            if piece.finish_reason is not None:
                yield event(reply.finish(index, piece.finish_reason))
    if with_usage:
        yield event(reply.usage(Usage.of(prompt_tokens, tokens, cached_tokens)))
    yield DONE


class EventStream(Response):
    """Sends events while the client listens; an error in the middle is the last event.

    Starlette's StreamingResponse would leave the events' generator open when the client goes.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], stopping: asyncio.Event) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})
        self._events = events
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        last = b""
        try:
            await attended(self._send_events(send), self._stopping, client_leaves(Request(scope, receive)))
        except ClientLeft:
            return
        except SlipwayError as error:
            last = event(error_body(error))
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _send_events(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            async for data in events:
                await send({"type": "http.response.body", "body": data, "more_body": True})
