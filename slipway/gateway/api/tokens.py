"""POST /tokenize and /detokenize, as vLLM's server has them; answered by `gateway.app`."""

from typing import Annotated

from pydantic import BaseModel, Field

from slipway.gateway.api.body import Body, NonEmpty
from slipway.gateway.api.chat import Message

_MODEL = Field(None, description="May be left out where one model is served.")


class TokenizeRequest(Body):
    """The body of POST /tokenize: a prompt, or messages, which the model's chat template renders."""

    model: NonEmpty | None = _MODEL
    prompt: str | None = Field(None, description="Text, as /v1/completions takes it.")
    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)] | None = Field(
        None, description="A conversation, as /v1/chat/completions takes it."
    )
    add_special_tokens: bool | None = Field(
        None,
        description="Put before a prompt what the tokenizer puts there (BOS, as a rule); default true. The "
        "template says what comes before messages.",
    )
    return_token_strs: bool | None = Field(
        None, description="Tell each token as the tokenizer's vocabulary spells it."
    )


class Tokens(BaseModel):
    """The response of POST /tokenize. max_model_len: most tokens of prompt and answer together."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeRequest(Body):
    """The body of POST /detokenize."""

    model: NonEmpty | None = _MODEL
    tokens: list[Annotated[int, Field(ge=0)]] = Field(fail_fast=True, description="Token ids.")


class Detokenized(BaseModel):
    """The response of POST /detokenize: the text, special tokens spelled out."""

    prompt: str
