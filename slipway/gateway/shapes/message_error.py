"""Anthropic's error object, for /v1/messages and the paths below it."""

from typing import Literal

from pydantic import BaseModel, Field

from slipway.contract.errors import SlipwayError
from slipway.gateway.errors import TABLE, HttpError, NotOffered, QueueFull, ServerBusy, http_error

# docs.claude.com/en/api/errors. Other statuses below 500 are invalid_request_error, from 500 on api_error.
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
# Anthropic's status for a busy server. Its clients take 429 for a key that has used up its allowance.
_BUSY = 529


class ErrorDetails(BaseModel):
    """What a program reads. With it, the official client's tool runner sends the request without a thread."""

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
    return _BUSY if row in (TABLE[QueueFull], TABLE[ServerBusy]) else row.status


def message_error(error: SlipwayError) -> MessageErrorBody:
    """`error` in Anthropic's shape."""
    status = message_status(http_error(error))
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    details = None
    if isinstance(error, NotOffered) and error.param == "thread":
        details = ErrorDetails(error_code="thread_unsupported_request", unsupported=["thread"])
    return MessageErrorBody(type="error", error=MessageError(type=kind, message=str(error), details=details))
