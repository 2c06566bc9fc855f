"""What the server knows of one request, from arrival to end; endpoints find it as `request.state.visit`.

`Visits` makes it, names it to the client, and writes its line into the access log.
"""

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slipway.gateway import log
from slipway.gateway.http.deadline import Deadline
from slipway.gateway.http.error_response import asks_anthropics_api
from slipway.gateway.queue import EngineQueue, Turn

# What a client may call its request: nothing that breaks a line of a log or a header.
_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_SHOWN = 200

P = ParamSpec("P")
T = TypeVar("T")

_access = logging.getLogger(log.ACCESS)


@dataclass(slots=True, eq=False)
class Visit:
    """One request.

    id: the client's `x-request-id`, or a new one; two requests may bring the same.
    deadline: when it must be over. key: the name of the API key, where there is one. model: what the body
        asks for. served: the model that it found. turns: its answers in the engine's queue.
    long_body: whether work on the body takes long enough to hold up streams.
    ending: what is to be done when the response is over, whatever its end.
    """

    id: str
    deadline: Deadline
    key: str | None = None
    model: str | None = None
    served: str | None = None
    prompt_tokens: int = 0
    turns: list[Turn] = field(default_factory=list)
    long_body: bool = False
    ending: ExitStack = field(default_factory=ExitStack)

    @property
    def completion_tokens(self) -> int:
        """Generated so far, in all answers."""
        return sum(turn.tokens for turn in self.turns)

    async def run(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """What `work` returns. Where the body is long, a thread does it, so that streams go on meanwhile."""
        if self.long_body:
            return await asyncio.to_thread(work, *arguments, **named)
        return work(*arguments, **named)

    def take_turns(self, queue: EngineQueue, count: int, priority: int | None, field: str) -> list[Turn]:
        """Join the queue with `count` answers until the request is over. Raises what `Queue.turns` does."""
        turns = self.ending.enter_context(queue.turns(count, priority or 0, field))
        self.turns += turns
        return turns


class Visits:
    """ASGI middleware, around everything that answers."""

    def __init__(self, app: ASGIApp, timeout_s: float, over: Callable[[Visit, int], None]) -> None:
        """timeout_s: seconds a request may take. over: told of each that is, with its status."""
        self._app = app
        self._timeout_s = timeout_s
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`state.visit` for the endpoints, `state.id` for what they generate, `x-request-id` for clients."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        arrived = time.monotonic()
        unique = uuid.uuid4().hex
        given = Headers(scope=scope).get("x-request-id", "")
        asked = scope
        if scope["method"] == "HEAD":
            # As GET is answered; uvicorn, which has the scope as it came, leaves the content out.
            scope = {**scope, "method": "GET"}
        visit = Visit(given if _SANE_ID.fullmatch(given) else unique, Deadline(arrived, self._timeout_s))
        scope.setdefault("state", {}).update(id=unique, visit=visit)
        log.request_id.set(visit.id)
        status = 500  # what the server answers when the application raises

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = visit.id
                if asks_anthropics_api(scope["path"]):
                    headers["request-id"] = visit.id
            await send(message)

        try:
            with visit.ending:
                await self._app(scope, receive, send_named)
        finally:
            self._over(visit, status)
            if _access.isEnabledFor(logging.INFO):
                _access.info(_line(asked, visit, status, time.monotonic() - arrived))


def visit_of(request: Request) -> Visit:
    """The visit of a request."""
    visit = request.state.visit
    assert isinstance(visit, Visit)
    return visit


def _line(scope: Scope, visit: Visit, status: int, seconds: float) -> str:
    """JSON, so that no path can look like two lines; the query is left out, where people put secrets."""
    return json.dumps(
        {
            "time": log.now(),
            "request_id": visit.id,
            "method": scope["method"],
            "path": scope["path"][:_SHOWN],
            "status": status,
            "ms": round(seconds * 1000, 1),
            "model": visit.model and visit.model[:_SHOWN],
            "key": visit.key,
            "prompt_tokens": visit.prompt_tokens,
            "completion_tokens": visit.completion_tokens,
        }
    )
