"""How many tokens a request took, as OpenAI's answers say it; counted by `gateway.app` and `http.sse`."""

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel


class PromptTokensDetails(BaseModel):
    """cached_tokens: how many tokens of the prompt did not have to be read, because they were before."""

    cached_tokens: int


class CompletionTokensDetails(BaseModel):
    """reasoning_tokens: those of the answers that were thoughts."""

    reasoning_tokens: int


class Usage(BaseModel):
    """Tokens of one request; the details are there where the backend knows them, and there are some."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None

    @classmethod
    def of(cls, prompt: int, completion: int, cached: Sequence[int | None]) -> Self:
        """With the sums filled in. cached: tokens of each prompt, None where the backend does not say."""
        usage = cls(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
        known = [each for each in cached if each is not None]
        if not known or len(known) < len(cached):
            return usage
        details = PromptTokensDetails(cached_tokens=sum(known))
        return usage.model_copy(update={"prompt_tokens_details": details})

    def with_reasoning(self, tokens: int) -> Self:
        """The same, of which so many tokens were thoughts."""
        details = CompletionTokensDetails(reasoning_tokens=tokens)
        return self.model_copy(update={"completion_tokens_details": details}) if tokens else self
