"""The client's end of a request: its body, and whether it is still there; used by `gateway.app`."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from slipway.gateway.errors import BodyTooLarge, RequestTooSlow, ServerStopping
from slipway.gateway.http.deadline import Deadline

T = TypeVar("T")


class ClientLeft(Exception):
    """The client closed its connection; nobody waits for an answer any more."""


async def read_body(request: Request, limit: int, arrival_s: float) -> bytes:
    """The whole body.

    limit: most bytes to keep, whether the length is declared or the body comes in chunks. (FastAPI's own
        max_body_size answers in plain text, which OpenAI's clients cannot read.)
    arrival_s: seconds in which it must be here.
    Raises BodyTooLarge as soon as that is known, RequestTooSlow, or ClientLeft when the client goes before.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(arrival_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except ClientDisconnect:
        raise ClientLeft from None
    except TimeoutError:
        raise RequestTooSlow(
            f"{len(body)} bytes of the body arrived within {arrival_s:g} s, and not its end; send it faster, "
            "or start the server with a larger --arrival-timeout."
        ) from None
    return bytes(body)


async def client_leaves(request: Request) -> None:
    """Return when the client has closed its connection; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def run_until_disconnect(
    work: Coroutine[Any, Any, T],
    stopping: asyncio.Event,
    deadline: Deadline,
    leaving: Coroutine[Any, Any, None] | None = None,
) -> T:
    """What `work` returns, if server, client and time last that long; else `work` is cancelled and awaited.

    leaving: `client_leaves`, unless `work` itself listens to the client.
    Raises ClientLeft, ServerStopping, DeadlineExceeded, or what `work` raises.
    """
    task = asyncio.create_task(work)
    stopped = asyncio.create_task(stopping.wait())
    left = asyncio.create_task(leaving) if leaving is not None else None
    tasks: set[asyncio.Task[Any]] = {each for each in (task, stopped, left) if each is not None}
    try:
        await asyncio.wait(tasks, timeout=deadline.left(), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if stopped.done():
            raise ServerStopping("The server is stopping; send the request again when it is back.")
        if left is not None and left.done():
            raise ClientLeft
        raise deadline.exceeded()
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.wait(tasks)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The body is longer than {limit} bytes, the most this server reads; send less, "
        "or start the server with a larger --max-body-bytes."
    )
