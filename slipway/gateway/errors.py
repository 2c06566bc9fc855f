"""The gateway's typed errors, and the table from each to HTTP status and OpenAI's type and code."""

import random
from dataclasses import dataclass
from http import HTTPStatus

from slipway.contract.errors import (
    ContextLengthExceeded,
    EngineFailed,
    EngineRefused,
    InvalidRequest,
    ModelNotFound,
    ModelUnavailable,
    SlipwayError,
    TemplateStopped,
)

# Seconds in which an engine starts again, or a server is replaced. Clients come back within all of them, and
# not at once.
_SOON_S = (2, 8)


class UnknownField(InvalidRequest):
    """The body has a field that this server does not know, so it cannot promise to honour it."""


class MissingField(InvalidRequest):
    """The body lacks a field that has no default."""


class WrongType(InvalidRequest):
    """A field holds another JSON type than it should."""


class NotOffered(InvalidRequest):
    """A field of OpenAI's API asks for something this server does not do."""


class MalformedBody(InvalidRequest):
    """The body is not one JSON document in UTF-8."""


class BodyTooLarge(SlipwayError):
    """The body is longer than this server reads."""


class HeadTooLarge(SlipwayError):
    """Request line and headers are longer than this server reads."""


class MalformedRequest(SlipwayError):
    """The client sent something that is not HTTP."""


class RequestTooSlow(SlipwayError):
    """The request did not arrive in the time that this server gives it."""


class UnsupportedMediaType(SlipwayError):
    """The body is not declared as JSON."""


class RouteNotFound(SlipwayError):
    """The path belongs to no endpoint."""


class EndpointNotOffered(SlipwayError):
    """The path is an endpoint of OpenAI's or Anthropic's, and this server does not have it."""


class ResponseNotFound(InvalidRequest):
    """No response is kept under this id."""


class MethodNotAllowed(SlipwayError):
    """The endpoint answers other methods than this one."""


class InvalidApiKey(SlipwayError):
    """The request has no key, or one that is not valid."""


class ModelForbidden(SlipwayError):
    """The key is not for this model."""


class AdminOnly(SlipwayError):
    """The key is not for changing what the server does."""


class ServerStopping(SlipwayError):
    """The server is shutting down, and takes no request or cannot finish one."""


class DeadlineExceeded(SlipwayError):
    """The request took longer than it may."""


class TooManyRequests(SlipwayError):
    """The request may come again later. retry_after: seconds until it is worth it."""

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFull(TooManyRequests):
    """The model's queue is full."""


class ServerBusy(TooManyRequests):
    """The server has too much in memory or at work, of all clients or of this one."""


class RateLimitExceeded(TooManyRequests):
    """A key has used up its requests per minute."""


class TokenLimitExceeded(TooManyRequests):
    """A key has used up its tokens per minute."""


@dataclass(frozen=True, slots=True)
class HttpError:
    """How one kind of error looks from outside: status, and OpenAI's `type` and `code`."""

    status: int
    type: str
    code: str | None


TABLE: dict[type[SlipwayError], HttpError] = {
    InvalidRequest: HttpError(400, "invalid_request_error", "invalid_value"),
    UnknownField: HttpError(400, "invalid_request_error", "unknown_parameter"),
    MissingField: HttpError(400, "invalid_request_error", "missing_required_parameter"),
    WrongType: HttpError(400, "invalid_request_error", "invalid_type"),
    NotOffered: HttpError(400, "invalid_request_error", "unsupported_value"),
    MalformedBody: HttpError(400, "invalid_request_error", "invalid_json"),
    ContextLengthExceeded: HttpError(400, "invalid_request_error", "context_length_exceeded"),
    # Not 500, which clients try again. The same messages would be stopped again.
    TemplateStopped: HttpError(400, "invalid_request_error", "chat_template_stopped"),
    InvalidApiKey: HttpError(401, "invalid_request_error", "invalid_api_key"),
    # OpenAI's code for it, with its status; 404 is for models that do not exist.
    ModelForbidden: HttpError(403, "invalid_request_error", "model_not_found"),
    AdminOnly: HttpError(403, "invalid_request_error", "insufficient_permissions"),
    ModelNotFound: HttpError(404, "invalid_request_error", "model_not_found"),
    ResponseNotFound: HttpError(404, "invalid_request_error", "response_not_found"),
    RouteNotFound: HttpError(404, "invalid_request_error", "unknown_url"),
    # Not 501, which clients try again, because they do so after every status from 500.
    EndpointNotOffered: HttpError(404, "invalid_request_error", "endpoint_not_offered"),
    MethodNotAllowed: HttpError(405, "invalid_request_error", "method_not_allowed"),
    MalformedRequest: HttpError(400, "invalid_request_error", "invalid_http"),
    RequestTooSlow: HttpError(408, "invalid_request_error", "request_timeout"),
    HeadTooLarge: HttpError(431, "invalid_request_error", "headers_too_large"),
    BodyTooLarge: HttpError(413, "invalid_request_error", "request_too_large"),
    UnsupportedMediaType: HttpError(415, "invalid_request_error", "unsupported_media_type"),
    QueueFull: HttpError(429, "requests", "queue_full"),
    ServerBusy: HttpError(429, "requests", "server_busy"),
    RateLimitExceeded: HttpError(429, "requests", "rate_limit_exceeded"),
    TokenLimitExceeded: HttpError(429, "tokens", "rate_limit_exceeded"),
    EngineFailed: HttpError(500, "server_error", "engine_failed"),
    EngineRefused: HttpError(503, "server_error", "engine_refused"),
    ModelUnavailable: HttpError(503, "server_error", "model_unavailable"),
    ServerStopping: HttpError(503, "server_error", "server_stopping"),
    # Not 408, which says that the client was slow to ask.
    DeadlineExceeded: HttpError(504, "timeout_error", "deadline_exceeded"),
    SlipwayError: HttpError(500, "server_error", "internal_error"),
}


def http_error(error: SlipwayError) -> HttpError:
    """The row of the nearest class of `error` that the table has."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def error_headers(error: SlipwayError) -> dict[str, str]:
    """Headers that say whether, when and how to send the request again."""
    match error:
        case ServerBusy():
            return _soon()
        case TooManyRequests():
            return {"retry-after": str(error.retry_after)}
        case ServerStopping():
            # Another connection may reach another server; this one ends with its server.
            return {**_soon(), "connection": "close"}
        case InvalidApiKey():
            return {"www-authenticate": "Bearer"}
        case DeadlineExceeded():
            # OpenAI's and Anthropic's clients repeat what failed with 5xx unless this header forbids it. The
            # same request would take as long again.
            return {"x-should-retry": "false"}
    if http_error(error).status == HTTPStatus.SERVICE_UNAVAILABLE:
        return _soon()
    return {}


def _soon() -> dict[str, str]:
    return {"retry-after": str(random.randint(*_SOON_S))}
