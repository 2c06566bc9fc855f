"""The checks before every endpoint: the API key of a request, and the origin of a page."""

from dataclasses import dataclass

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slipway.gateway.errors import InvalidApiKey
from slipway.gateway.http import docs_page
from slipway.gateway.http.error_response import error_response
from slipway.gateway.keys.keys import UNRESTRICTED, Caller, Keys

# Probes have no key, and neither have browsers that open the documentation. /metrics needs one, because
# Prometheus can send it (`authorization` in its scrape configuration).
OPEN_PATHS = frozenset({"/ping", "/health", "/health/live", "/health/ready"}) | docs_page.PATHS
_BEARER = b"bearer "


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use the server.

    keys: the valid API keys; None accepts every request.
    origins: of the pages whose scripts may read answers, as browsers write them; or "*".
    """

    keys: Keys | None = None
    origins: tuple[str, ...] = ()


class KeyCheck:
    """ASGI middleware: refuses a request without a valid key, and sets `state.caller` for the endpoints."""

    def __init__(self, app: ASGIApp, keys: Keys | None) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the key, and add the headers about its limits to the response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caller = UNRESTRICTED
        if self._keys is not None and scope["path"] not in OPEN_PATHS:
            try:
                caller = self._keys.caller(_key(scope))
            except InvalidApiKey as error:
                response = error_response(Request(scope), error)
                await response(scope, receive, send)
                return
        scope["state"]["caller"] = caller
        scope["state"]["context"].key = caller.name
        if caller.requests is None and caller.tokens is None:
            await self._app(scope, receive, send)
            return

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(caller.headers())
            await send(message)

        await self._app(scope, receive, send_with_limits)


def guard(app: FastAPI, access: Access) -> None:
    """Check keys. The middleware that sets request ids must be outside, so that refusals have an id."""
    app.add_middleware(KeyCheck, keys=access.keys)


def open_to_origins(app: FastAPI, access: Access) -> None:
    """Let pages of `access.origins` read answers. Add it last: a browser's first request has no key."""
    if access.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=access.origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "request-id", "retry-after"],
        )


def caller_of(request: Request) -> Caller:
    """Return the caller of a request."""
    caller = request.state.caller
    assert isinstance(caller, Caller)
    return caller


def _key(scope: Scope) -> bytes | None:
    """Return the key as OpenAI's or Anthropic's clients send it; as bytes, because only its hash counts."""
    headers = dict(scope["headers"])
    authorization: bytes = headers.get(b"authorization", b"")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip()
    key: bytes | None = headers.get(b"x-api-key")
    return key
