"""OpenAI's error object."""

from pydantic import BaseModel


class ErrorDetail(BaseModel):
    """What went wrong, as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The response of every request that fails."""

    error: ErrorDetail
