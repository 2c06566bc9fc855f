"""Answers as server-sent events, while the client listens."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from slipway.contract.errors import SlipwayError
from slipway.gateway.answers.answer import Piece
from slipway.gateway.http.connection import ClientLeft, client_leaves, run_until_disconnect
from slipway.gateway.http.deadline import Deadline
from slipway.gateway.shapes.reply import Reply
from slipway.gateway.shapes.usage import Usage

# Proxies end a connection that is silent for 30 to 60 s (nginx and AWS's balancer: 60); two beats fit in 30.
KEEP_ALIVE_S = 12.0


async def events(
    reply: Reply, pieces: AsyncGenerator[Piece, None], prompts: int, n: int, prompt_tokens: int
) -> AsyncGenerator[bytes, None]:
    """The streamed answers, n to each prompt, as their API has them."""
    tokens = 0
    cached_tokens: list[int | None] = []
    async with aclosing(pieces):
        opening = reply.opening(prompts * n)
        if opening:
            yield opening
        async for piece in pieces:
            tokens += piece.tokens
            if piece.index % n == 0 and piece.finish_reason is not None:
                cached_tokens.append(piece.cached_tokens)
            data = reply.piece(piece)
            if data:
                yield data
    yield reply.closing(Usage.of(prompt_tokens, tokens, cached_tokens))


class EventStream(Response):
    """Sends events while the client listens; an error in the middle is the last event.

    Starlette's StreamingResponse would leave the events' generator open when the client goes.
    keep_alive_s: the longest silence, while a request waits for a slot or its prompt is read.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        reply: Reply,
        events: AsyncGenerator[bytes, None],
        stopping: asyncio.Event,
        deadline: Deadline,
        keep_alive_s: float = KEEP_ALIVE_S,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})
        self._reply = reply
        self._events = events
        self._stopping = stopping
        self._deadline = deadline
        self._keep_alive_s = keep_alive_s
        self._sent_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        last = b""
        try:
            leaving = client_leaves(Request(scope, receive))
            await run_until_disconnect(self._send_all(send), self._stopping, self._deadline, leaving)
        except ClientLeft:
            return
        except SlipwayError as error:
            last = self._reply.failure(error)
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _send_all(self, send: Send) -> None:
        self._sent_at = asyncio.get_running_loop().time()
        beating = asyncio.create_task(self._keep_alive(send))
        try:
            await self._send_events(send)
        finally:
            beating.cancel()
            await asyncio.wait((beating,))

    async def _send_events(self, send: Send) -> None:
        clock = asyncio.get_running_loop().time
        async with aclosing(self._events) as events:
            async for data in events:
                await send({"type": "http.response.body", "body": data, "more_body": True})
                self._sent_at = clock()

    async def _keep_alive(self, send: Send) -> None:
        """Beside the events, so that they need no timer of their own. One `send` is whole events."""
        clock = asyncio.get_running_loop().time
        while True:
            silent = clock() - self._sent_at
            if silent >= self._keep_alive_s:
                await send(
                    {"type": "http.response.body", "body": self._reply.keep_alive(), "more_body": True}
                )
                silent, self._sent_at = 0.0, clock()
            await asyncio.sleep(self._keep_alive_s - silent)
