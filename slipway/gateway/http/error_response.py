"""The responses of requests that fail, in the shape of the API that was asked; `gateway.app` sends them."""

import re
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from slipway.contract.errors import SlipwayError
from slipway.gateway.api.message_error import message_error, message_status
from slipway.gateway.errors import (
    EndpointNotOffered,
    MethodNotAllowed,
    RouteNotFound,
    error_body,
    error_headers,
    http_error,
)
from slipway.gateway.http.connection import ClientLeft
from slipway.gateway.http.not_offered import why_not_offered

MESSAGES = "/v1/messages"
_CLIENT_CLOSED_REQUEST = 499
_SHOWN_PATH = 100


def asks_anthropics_api(path: str) -> bool:
    """Whether `path` is below /v1/messages, where clients read Anthropic's shapes."""
    return path == MESSAGES or path.startswith(f"{MESSAGES}/")


def error_response(
    request: Request, error: SlipwayError, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The status of `error` and its object."""
    row, named = http_error(error), error_headers(error) | dict(headers or {})
    if asks_anthropics_api(request.url.path):
        return JSONResponse(message_error(error).model_dump(), message_status(row), named)
    return JSONResponse(error_body(error).model_dump(), row.status, named)


def answer_errors(app: FastAPI) -> None:
    """Answer whatever the endpoints of `app`, or its router, raise."""
    app.add_exception_handler(SlipwayError, _slipway_error)
    app.add_exception_handler(ClientLeft, _client_left)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(Exception, _unexpected)


async def _slipway_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SlipwayError)
    return error_response(request, error)


async def _client_left(request: Request, error: Exception) -> Response:
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


async def _http_exception(request: Request, error: Exception) -> Response:
    """The router's own errors: no such path, or another method."""
    assert isinstance(error, HTTPException)
    asked = f"{request.method} {request.url.path[:_SHOWN_PATH]}"
    reason = why_not_offered(request.url.path)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = _allowed(request)
        typed: SlipwayError = MethodNotAllowed(f"{asked} is not offered; this endpoint answers {allowed}.")
        return error_response(request, typed, {"Allow": allowed})
    if reason is not None:
        typed = EndpointNotOffered(f"{asked} is not offered. {reason}.")
    elif (missed := _missed(request)) is not None:
        typed = RouteNotFound(
            f"{asked} is no endpoint of this server; {missed} is. The base URL of OpenAI's clients ends with "
            "/v1, that of Anthropic's does not."
        )
    else:
        typed = RouteNotFound(f"{asked} is no endpoint of this server; /docs lists those there are.")
    return error_response(request, typed, error.headers)


def _allowed(request: Request) -> str:
    """The methods of all routes with this path; the router's own answer has those of the first.

    A path that is written out is no response's id.
    """
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] != Match.NONE]
    routes = [route for route in routes if route.path == request.url.path] or routes
    methods = {method for route in routes for method in route.methods}
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))


def _missed(request: Request) -> str | None:
    """The endpoint that a /v1 too few or too many, or a slash too many, has missed."""
    path = re.sub("/{2,}", "/", request.url.path).rstrip("/")
    for near in (path, f"/v1{path}", path.removeprefix("/v1")):
        scope = {**request.scope, "path": near}
        if any(route.matches(scope)[0] != Match.NONE for route in request.app.routes):
            return near[:_SHOWN_PATH]
    return None


async def _unexpected(request: Request, error: Exception) -> Response:
    """A bug. The server's log has the traceback; the client gets what to quote."""
    message = f"The server failed on this request; its log says why, request {request.state.visit.id}."
    return error_response(request, SlipwayError(message), {"x-request-id": request.state.visit.id})
