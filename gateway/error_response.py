"""The response of a request that fails, in the shape of the API that was asked; sent by `gateway.app`."""

from collections.abc import Mapping

from fastapi.responses import JSONResponse
from starlette.requests import Request

from engines.errors import SlipwayError
from gateway.api.message_error import message_error
from gateway.errors import error_body, http_error

MESSAGES = "/v1/messages"


def asks_anthropics_api(path: str) -> bool:
    """Whether `path` is below /v1/messages, where clients read Anthropic's shapes."""
    return path == MESSAGES or path.startswith(f"{MESSAGES}/")


def error_response(
    request: Request, error: SlipwayError, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The status of `error` and its object."""
    body = message_error(error) if asks_anthropics_api(request.url.path) else error_body(error)
    return JSONResponse(body.model_dump(), http_error(error).status, headers)
