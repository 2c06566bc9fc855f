"""The bodies of requests, from the connection to their schema."""

import asyncio
from typing import TypeVar

from starlette.requests import Request

from slipway.gateway.http.connection import read_body, run_until_disconnect
from slipway.gateway.http.context import context_of
from slipway.gateway.keys.access import caller_of
from slipway.gateway.shapes.body import Body
from slipway.gateway.shapes.parsing import check_media_type, parse

# Bytes. 8 KiB take about 2 ms to read and tokenize.
_LONG_BODY = 8192

B = TypeVar("B", bound=Body)


class BodyReader:
    """Reads bodies within the server's limits.

    stopping: set when the server shuts down.
    """

    def __init__(self, max_bytes: int, arrival_s: float, stopping: asyncio.Event) -> None:
        self._max_bytes = max_bytes
        self._arrival_s = arrival_s
        self._stopping = stopping

    async def read(self, request: Request, schema: type[B]) -> B:
        """The body of `request`, which counts as a request of the caller's even where it is refused."""
        caller_of(request).enter()
        check_media_type(request.headers.get("content-type"), request.headers.get("content-encoding"))
        context = context_of(request)
        arriving = read_body(request, self._max_bytes, self._arrival_s)
        content = await run_until_disconnect(arriving, self._stopping, context.deadline)
        context.long_body = len(content) > _LONG_BODY
        body = await context.run(parse, content, schema)
        context.model = getattr(body, "model", None)
        return body
