"""The client's end of a request: its body, and whether the client is still connected."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from slipway.gateway.errors import BodyTooLarge, RequestTooSlow, ServerStopping
from slipway.gateway.http.deadline import Deadline

T = TypeVar("T")


class ClientLeft(Exception):
    """The client closed its connection, so the answer has no reader."""


async def read_body(request: Request, max_bytes: int, arrival_s: float, hold: Callable[[int], None]) -> bytes:
    """Return the whole body.

    max_bytes: holds for a declared length and for a body in chunks. (FastAPI's own max_body_size answers in
        plain text, which OpenAI's clients cannot read.)
    arrival_s: seconds for the whole body to arrive.
    hold: called with the length so far; may refuse the rest.
    Raises BodyTooLarge as soon as the size is known, RequestTooSlow, ClientLeft, or what `hold` raises.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(arrival_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise _too_large(max_bytes)
                hold(len(body))
    except ClientDisconnect:
        raise ClientLeft from None
    except TimeoutError:
        raise RequestTooSlow(
            f"Only {len(body)} bytes of the body arrived within {arrival_s:g} s; send it faster, "
            "or start the server with a larger --arrival-timeout."
        ) from None
    return bytes(body)


async def wait_for_disconnect(request: Request) -> None:
    """Return when the client has closed its connection. The body must have been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def run_until_disconnect(
    work: Coroutine[Any, Any, T],
    stopping: asyncio.Event,
    deadline: Deadline,
    disconnect: Coroutine[Any, Any, None] | None = None,
) -> T:
    """Return what `work` returns. Cancel it when the client leaves, the server stops or the time is up.

    disconnect: `wait_for_disconnect`; None if `work` itself listens to the client.
    Raises ClientLeft, ServerStopping, DeadlineExceeded, or what `work` raises.
    """
    task = asyncio.create_task(work)
    stopped = asyncio.create_task(stopping.wait())
    left = asyncio.create_task(disconnect) if disconnect is not None else None
    tasks: set[asyncio.Task[Any]] = {each for each in (task, stopped, left) if each is not None}
    try:
        await asyncio.wait(tasks, timeout=deadline.remaining(), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if stopped.done():
            raise ServerStopping("The server is stopping; send the request again when it is back.")
        if left is not None and left.done():
            raise ClientLeft
        raise deadline.error()
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.wait(tasks)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The body is longer than {max_bytes} bytes; send less, or start the server with a larger "
        "--max-body-bytes."
    )
