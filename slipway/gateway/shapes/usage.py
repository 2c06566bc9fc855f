"""How many tokens a request took, in the shape of OpenAI's answers."""

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel


class PromptTokensDetails(BaseModel):
    """cached_tokens: tokens of the prompt that the engine had read before."""

    cached_tokens: int


class CompletionTokensDetails(BaseModel):
    """reasoning_tokens: tokens of the answers that were reasoning."""

    reasoning_tokens: int


class Usage(BaseModel):
    """Tokens of one request. Details that the backend does not report, or that are 0, are left out."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None

    @classmethod
    def of(cls, prompt: int, completion: int, cached: Sequence[int | None]) -> Self:
        """cached: cached tokens of each prompt; None where the backend does not report them."""
        usage = cls(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
        known = [each for each in cached if each is not None]
        if not known or len(known) < len(cached):
            return usage
        details = PromptTokensDetails(cached_tokens=sum(known))
        return usage.model_copy(update={"prompt_tokens_details": details})

    def with_reasoning(self, tokens: int) -> Self:
        """The same, with the number of reasoning tokens."""
        details = CompletionTokensDetails(reasoning_tokens=tokens)
        return self.model_copy(update={"completion_tokens_details": details}) if tokens else self
