"""How many tokens a request took, as OpenAI's answers say it; counted by `gateway.app` and `gateway.sse`."""

from typing import Self

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
