"""Anthropic's error object, for /v1/messages and the paths below it; sent by `http.error_response`."""

from typing import Literal

from pydantic import BaseModel, Field

from slipway.contract.errors import SlipwayError
from slipway.gateway.errors import TABLE, HttpError, NotOffered, QueueFull, http_error

# docs.claude.com/en/api/errors; other statuses are the client's fault below 500, and the server's from there.
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
# Anthropic's clients take 429 as their own allowance being used up; that the server is busy has this status.
_BUSY = 529


class ErrorDetails(BaseModel):
    """What a client's program reads. The official client's tool runner asks again without a thread then."""

    error_code: Literal["thread_unsupported_request"]
    unsupported: list[str]


class MessageError(BaseModel):
    """What went wrong, as Anthropic's clients read it."""

    type: str
    message: str
    details: ErrorDetails | None = Field(None, exclude_if=lambda details: details is None)


class MessageErrorBody(BaseModel):
    """The response of a request under /v1/messages that fails, and the last event of such a stream."""

    type: Literal["error"]
    error: MessageError


def message_status(row: HttpError) -> int:
    """The status that a row of the table of errors has in Anthropic's API."""
    return _BUSY if row is TABLE[QueueFull] else row.status


def message_error(error: SlipwayError) -> MessageErrorBody:
    """`error` in Anthropic's shape."""
    status = message_status(http_error(error))
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    details = None
    if isinstance(error, NotOffered) and error.param == "thread":
        details = ErrorDetails(error_code="thread_unsupported_request", unsupported=["thread"])
    return MessageErrorBody(type="error", error=MessageError(type=kind, message=str(error), details=details))
