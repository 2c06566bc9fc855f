"""The responses to requests that fail, in the shape of the API that the client uses."""

import re
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from slipway.contract.errors import SlipwayError
from slipway.gateway.errors import (
    EndpointNotOffered,
    MethodNotAllowed,
    RouteNotFound,
    error_headers,
    http_error,
)
from slipway.gateway.http.connection import ClientLeft
from slipway.gateway.http.not_offered import why_not_offered
from slipway.gateway.shapes.error import error_body
from slipway.gateway.shapes.message_error import message_error, message_status

MESSAGES = "/v1/messages"
_CLIENT_CLOSED_REQUEST = 499
_MAX_SHOWN_PATH = 100


def is_messages_path(path: str) -> bool:
    """Return whether the path is below /v1/messages, where clients read Anthropic's shapes."""
    return path == MESSAGES or path.startswith(f"{MESSAGES}/")


def error_response(
    request: Request, error: SlipwayError, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return the response for `error`: its status, its headers and the error object of the API."""
    row, all_headers = http_error(error), error_headers(error) | dict(headers or {})
    if is_messages_path(request.url.path):
        return JSONResponse(message_error(error).model_dump(), message_status(row), all_headers)
    return JSONResponse(error_body(error).model_dump(), row.status, all_headers)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every exception of the endpoints and of the router with an error response."""
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
    """Answer the router's own errors: an unknown path, or a method that the endpoint does not have."""
    assert isinstance(error, HTTPException)
    endpoint = f"{request.method} {request.url.path[:_MAX_SHOWN_PATH]}"
    reason = why_not_offered(request.url.path)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = _allowed_methods(request)
        typed: SlipwayError = MethodNotAllowed(f"{endpoint} is not offered; this endpoint has {allowed}.")
        return error_response(request, typed, {"Allow": allowed})
    if reason is not None:
        typed = EndpointNotOffered(f"{endpoint} is not offered. {reason}.")
    elif (similar := _similar_path(request)) is not None:
        typed = RouteNotFound(
            f"{endpoint} is no endpoint of this server; {similar} is. The base URL of OpenAI's clients ends "
            "with /v1, that of Anthropic's does not."
        )
    else:
        typed = RouteNotFound(f"{endpoint} is no endpoint of this server; /docs lists its endpoints.")
    return error_response(request, typed, error.headers)


def _allowed_methods(request: Request) -> str:
    """Return the methods of all routes with this path; the router's own answer has those of the first.

    A route with exactly this path hides the routes with a parameter in its place.
    """
    routes = [route for route in _routes(request) if route.matches(request.scope)[0] != Match.NONE]
    routes = [route for route in routes if route.path == request.url.path] or routes
    methods = {method for route in routes for method in route.methods or ()}
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))


def _similar_path(request: Request) -> str | None:
    """Return the endpoint that differs from the path by one /v1 or by a slash."""
    path = re.sub("/{2,}", "/", request.url.path).rstrip("/")
    for similar in (path, f"/v1{path}", path.removeprefix("/v1")):
        scope = {**request.scope, "path": similar}
        if any(route.matches(scope)[0] != Match.NONE for route in _routes(request)):
            return similar[:_MAX_SHOWN_PATH]
    return None


def _routes(request: Request) -> list[Route]:
    contexts = iter_route_contexts(request.app.routes)
    return [each.original_route for each in contexts if isinstance(each.original_route, Route)]


async def _unexpected(request: Request, error: Exception) -> Response:
    """Answer a bug. The server's log has the traceback; the client gets the request id to quote."""
    request_id = request.state.context.id
    message = f"The server failed on this request; its log says why, under request {request_id}."
    return error_response(request, SlipwayError(message), {"x-request-id": request_id})
