"""The context of a request, from its arrival to its end, and the middleware that makes it.

Endpoints find it as `request.state.context`. The middleware also writes the access log.
"""

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Any, ParamSpec, TypeVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slipway.gateway import log
from slipway.gateway.fair_threads import FairThreads
from slipway.gateway.http.connection import run_until_disconnect, wait_for_disconnect
from slipway.gateway.http.deadline import Deadline
from slipway.gateway.http.error_response import is_messages_path
from slipway.gateway.queue import EngineQueue, Turn

# A client's own request id: no character that breaks a header or a line of the log.
_CLIENT_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_MAX_SHOWN = 200

P = ParamSpec("P")
T = TypeVar("T")

_access = logging.getLogger(log.ACCESS)


@dataclass(slots=True, eq=False)
class RequestContext:
    """One request.

    id: the client's `x-request-id`, or a new one; not unique, because two requests may send the same.
    deadline: when the request must be over. key: the name of its API key, if it has one.
    address: of the client; of IPv6, the network that one client has.
    model: what the body asks for. served: the model that was found for it.
    ignored: fields of the body that have no effect, for the header `x-slipway-ignored`.
    turns: its answers in the queue of the engine.
    long_body: whether work on the body takes long enough to delay streams.
    attend: waits for work until the client leaves, the server stops or the time is up.
    threads: for work on long bodies.
    cleanup: runs when the response is over, also after an error.
    """

    id: str
    deadline: Deadline
    address: str
    attend: Callable[["RequestContext", Coroutine[Any, Any, Any]], Awaitable[Any]]
    threads: FairThreads
    key: str | None = None
    model: str | None = None
    served: str | None = None
    prompt_tokens: int = 0
    ignored: list[str] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    long_body: bool = False
    cleanup: ExitStack = field(default_factory=ExitStack)

    @property
    def client(self) -> str:
        """Who asks, as far as shares go: the owner of the key, or else the address."""
        return self.address if self.key is None else f"key {self.key}"

    @property
    def completion_tokens(self) -> int:
        """Tokens generated up to now, in all answers."""
        return sum(turn.tokens for turn in self.turns)

    async def run(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Return what `work` returns. With a long body, run it in a thread, so that streams go on."""
        if not self.long_body:
            return work(*arguments, **named)
        return await self.run_until_disconnect(
            self.threads.run(self.client, partial(work, *arguments, **named))
        )

    async def run_until_disconnect(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns. Errors as for `connection.run_until_disconnect`."""
        done: T = await self.attend(self, work)
        return done

    def take_turns(self, queue: EngineQueue, count: int, priority: int | None, field: str) -> list[Turn]:
        """Queue `count` answers until the request is over. Raises the errors of `EngineQueue.turns`."""
        turns = self.cleanup.enter_context(queue.turns(count, priority or 0, field, self.client))
        self.turns += turns
        return turns


class RequestContextMiddleware:
    """ASGI middleware around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        timeout_s: float,
        on_end: Callable[[RequestContext, int], None],
        threads: FairThreads,
        stopping: asyncio.Event,
    ) -> None:
        """timeout_s: seconds that a request may take. on_end: called with each request and its status.

        threads: for work on long bodies. stopping: set when the server shuts down, which ends that work.
        """
        self._app = app
        self._timeout_s = timeout_s
        self._on_end = on_end
        self._threads = threads
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set `state.context`, the unique `state.id`, and the header `x-request-id` of the response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        arrived = time.monotonic()
        unique = uuid.uuid4().hex
        client_id = Headers(scope=scope).get("x-request-id", "")
        original = scope
        if scope["method"] == "HEAD":
            # Answered like GET; uvicorn has the original scope and leaves the content out.
            scope = {**scope, "method": "GET"}
        request_id = client_id if _CLIENT_ID.fullmatch(client_id) else unique

        async def attend(context: RequestContext, work: Coroutine[Any, Any, Any]) -> Any:
            left = wait_for_disconnect(Request(scope, receive))
            return await run_until_disconnect(work, self._stopping, context.deadline, left)

        deadline = Deadline(arrived, self._timeout_s)
        context = RequestContext(request_id, deadline, _address(scope), attend, self._threads)
        scope.setdefault("state", {}).update(id=unique, context=context)
        log.request_id.set(context.id)
        status = 500  # the server's answer when the application raises

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = context.id
                if context.ignored:
                    headers["x-slipway-ignored"] = ", ".join(context.ignored)
                if is_messages_path(scope["path"]):
                    headers["request-id"] = context.id
            await send(message)

        try:
            with context.cleanup:
                await self._app(scope, receive, send_with_id)
        finally:
            self._on_end(context, status)
            if _access.isEnabledFor(logging.INFO):
                _access.info(_access_line(original, context, status, time.monotonic() - arrived))


def context_of(request: Request) -> RequestContext:
    """Return the context of a request."""
    context = request.state.context
    assert isinstance(context, RequestContext)
    return context


def _address(scope: Scope) -> str:
    """The client's address; of IPv6 its first 64 bits, because the others are the client's to choose."""
    host: str = (scope.get("client") or ("",))[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(IPv6Address(int(address) >> 64 << 64))
    return str(getattr(address, "ipv4_mapped", None) or address)


def _access_line(scope: Scope, context: RequestContext, status: int, seconds: float) -> str:
    """Return a line of JSON, so that no path can look like two lines. A query may hold a secret: left out."""
    return json.dumps(
        {
            "time": log.now(),
            "request_id": context.id,
            "method": scope["method"],
            "path": scope["path"][:_MAX_SHOWN],
            "status": status,
            "ms": round(seconds * 1000, 1),
            "model": context.model and context.model[:_MAX_SHOWN],
            "key": context.key,
            "prompt_tokens": context.prompt_tokens,
            "completion_tokens": context.completion_tokens,
            **({"ignored": context.ignored} if context.ignored else {}),
        }
    )
