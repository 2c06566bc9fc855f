"""The bodies of requests, from the connection to their schema."""

from typing import TypeVar

from starlette.requests import Request

from slipway.gateway.http.body_memory import SMALL_BODY, BodyMemory
from slipway.gateway.http.connection import read_body, run_until_disconnect
from slipway.gateway.http.context import context_of
from slipway.gateway.http.shutdown import Shutdown
from slipway.gateway.keys.access import caller_of
from slipway.gateway.shapes.body import Body
from slipway.gateway.shapes.parsing import check_media_type, parse

B = TypeVar("B", bound=Body)


class BodyReader:
    """Reads bodies within the server's limits.

    shutdown: no request is read once the server drains.
    """

    def __init__(self, max_bytes: int, memory: BodyMemory, arrival_s: float, shutdown: Shutdown) -> None:
        self._max_bytes = max_bytes
        self._memory = memory
        self._arrival_s = arrival_s
        self._shutdown = shutdown

    async def read(self, request: Request, schema: type[B]) -> B:
        """The body of `request`, which counts as a request of the caller's even where it is refused."""
        self._shutdown.check()
        caller_of(request).enter()
        check_media_type(request.headers.get("content-type"), request.headers.get("content-encoding"))
        context = context_of(request)
        hold = context.cleanup.enter_context(self._memory.share(context.client))
        arriving = read_body(request, self._max_bytes, self._arrival_s, hold)
        content = await run_until_disconnect(arriving, self._shutdown.draining, context.deadline)
        context.long_body = len(content) > SMALL_BODY
        body = await context.run(parse, content, schema)
        context.model = getattr(body, "model", None)
        return body
