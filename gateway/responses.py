"""OpenAI's answers as pydantic models; `gateway.replies` fills them in."""

from typing import Literal, Self

from pydantic import BaseModel


class PromptTokensDetails(BaseModel):
    """cached_tokens: how many tokens of the prompt did not have to be read, because they were before."""

    cached_tokens: int


class Usage(BaseModel):
    """Tokens of one request; the details are there where the backend knows them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | None = None

    @classmethod
    def of(cls, prompt: int, completion: int, cached: int | None) -> Self:
        """With the sum filled in. cached: tokens of the prompt, None where the backend does not say."""
        usage = cls(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
        if cached is None:
            return usage
        return usage.model_copy(update={"prompt_tokens_details": PromptTokensDetails(cached_tokens=cached)})


Finish = Literal["stop", "length"]


class AssistantMessage(BaseModel):
    """The answer of a chat."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(BaseModel):
    """One answer of a chat."""

    index: int
    message: AssistantMessage
    logprobs: None
    finish_reason: Finish


class ChatCompletion(BaseModel):
    """The response of POST /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class ChatDelta(BaseModel):
    """What one chunk adds to the message."""

    role: Literal["assistant"] = "assistant"
    content: str = ""


class ChatChunkChoice(BaseModel):
    """What one chunk adds to the answer."""

    index: int
    delta: ChatDelta
    logprobs: None
    finish_reason: Finish | None


class ChatCompletionChunk(BaseModel):
    """One event of a streamed chat; `usage` is there only when the client asked for it."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None


class CompletionChoice(BaseModel):
    """One answer of a plain completion, or what one chunk adds to it."""

    index: int
    text: str
    logprobs: None
    finish_reason: Finish | None


class Completion(BaseModel):
    """The response of POST /v1/completions, or one event of its stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None


class ModelCard(BaseModel):
    """One model that is ready."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "slipway"


class ModelList(BaseModel):
    """The response of GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class ErrorDetail(BaseModel):
    """What went wrong, as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The response of every request that fails."""

    error: ErrorDetail
