"""The bodies and answers of POST /tokenize and /detokenize."""

from typing import Annotated

from pydantic import BaseModel, Field

from slipway.contract.errors import InvalidRequest
from slipway.gateway.chat.schema import ChatMessage, read_messages
from slipway.gateway.query import Conversation
from slipway.gateway.shapes.body import Body, NonEmpty

_MODEL = Field(None, description="May be left out where one model is served.")


class TokenizeRequest(Body):
    """The body of POST /tokenize: a prompt, or messages, which the model's chat template renders."""

    model: NonEmpty | None = _MODEL
    prompt: str | None = Field(None, description="Text, as /v1/completions takes it.")
    messages: Annotated[list[ChatMessage], Field(min_length=1, fail_fast=True)] | None = Field(
        None, description="A conversation, as /v1/chat/completions takes it."
    )
    add_special_tokens: bool | None = Field(
        None,
        description="Put before a prompt what the tokenizer puts there (BOS, as a rule); default true. The "
        "template says what comes before messages.",
    )
    return_token_strs: bool | None = Field(
        None, description="Show each token as the tokenizer's vocabulary spells it."
    )

    def conversation(self) -> Conversation | None:
        """None where a prompt is given. Raises InvalidRequest unless either prompt or messages are."""
        if (self.prompt is None) == (self.messages is None):
            raise InvalidRequest("Give either prompt or messages.", "prompt")
        if self.messages is None:
            return None
        if self.add_special_tokens is not None:
            raise InvalidRequest(
                "add_special_tokens is given together with messages, but the chat template says what comes "
                "before messages; leave it out.",
                "add_special_tokens",
            )
        return Conversation(read_messages(self.messages))


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
