"""OpenAI's error object."""

from pydantic import BaseModel

from slipway.contract.errors import InvalidRequest, ModelNotFound, SlipwayError
from slipway.gateway.errors import ModelForbidden, http_error


class ErrorDetail(BaseModel):
    """What went wrong, as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The response of every request that fails."""

    error: ErrorDetail


def error_body(error: SlipwayError) -> ErrorBody:
    """`error` in OpenAI's shape, for a response or for an event in the middle of a stream."""
    row = http_error(error)
    param = error.param if isinstance(error, InvalidRequest) else None
    if isinstance(error, ModelNotFound | ModelForbidden):
        param = "model"
    return ErrorBody(error=ErrorDetail(message=str(error), type=row.type, param=param, code=row.code))
