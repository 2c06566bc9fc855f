"""A response of server-sent events."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from slipway.contract.errors import SlipwayError
from slipway.gateway.answers.answer import Piece
from slipway.gateway.http.connection import ClientLeft, run_until_disconnect, wait_for_disconnect
from slipway.gateway.http.deadline import Deadline
from slipway.gateway.shapes.reply import Reply
from slipway.gateway.shapes.usage import Usage

# Proxies close a connection after 30 to 60 s of silence (nginx and AWS's balancer: 60).
KEEP_ALIVE_S = 12.0


async def stream_events(
    reply: Reply, pieces: AsyncGenerator[Piece, None], prompts: int, n: int, prompt_tokens: int
) -> AsyncGenerator[bytes, None]:
    """Yield the events of `n` answers to each of `prompts` prompts, in the shape of their API."""
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
            # Reporting the tokens of a long prompt takes long, and other streams would stop meanwhile.
            long = piece.prompt is not None
            data = await asyncio.to_thread(reply.piece, piece) if long else reply.piece(piece)
            if data:
                yield data
    yield reply.closing(Usage.of(prompt_tokens, tokens, cached_tokens))


class EventStream(Response):
    """Sends events until the client leaves. An error after the first event becomes the last event.

    Starlette's StreamingResponse would leave the events' generator open when the client leaves.
    keep_alive_s: the longest silence while a request waits for a slot or the engine reads its prompt.
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
        """Send the response."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        last = b""
        try:
            disconnect = wait_for_disconnect(Request(scope, receive))
            await run_until_disconnect(self._send_all(send), self._stopping, self._deadline, disconnect)
        except ClientLeft:
            return
        except SlipwayError as error:
            last = self._reply.failure(error)
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _send_all(self, send: Send) -> None:
        self._sent_at = asyncio.get_running_loop().time()
        keep_alive = asyncio.create_task(self._keep_alive(send))
        try:
            await self._send_events(send)
        finally:
            keep_alive.cancel()
            await asyncio.wait((keep_alive,))

    async def _send_events(self, send: Send) -> None:
        clock = asyncio.get_running_loop().time
        async with aclosing(self._events) as events:
            async for data in events:
                await send({"type": "http.response.body", "body": data, "more_body": True})
                self._sent_at = clock()

    async def _keep_alive(self, send: Send) -> None:
        """Send a comment after each silence; its own task, so that the events need no timer."""
        clock = asyncio.get_running_loop().time
        while True:
            silent = clock() - self._sent_at
            if silent >= self._keep_alive_s:
                await send(
                    {"type": "http.response.body", "body": self._reply.keep_alive(), "more_body": True}
                )
                silent, self._sent_at = 0.0, clock()
            await asyncio.sleep(self._keep_alive_s - silent)
