"""OpenAI's two shapes of log-probabilities; filled in by `gateway.api.chat` and `gateway.api.completions`."""

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel

from slipway.gateway.answers.log_probs import ChosenToken, Likelihood


class TopLogProb(BaseModel):
    """One token that was likely. bytes: its own, exactly; none where it stands for no text."""

    token: str
    logprob: float
    bytes: list[int]

    @classmethod
    def of(cls, told: Likelihood) -> Self:
        """The shape of it."""
        return cls(token=told.token, logprob=told.log_prob, bytes=list(told.bytes))


class TokenLogProb(TopLogProb):
    """One token of the answer, and the likeliest in its place."""

    top_logprobs: list[TopLogProb]


class ChatLogProbs(BaseModel):
    """Those of a chat's answer, or of what one chunk adds to it."""

    content: list[TokenLogProb]
    refusal: None

    @classmethod
    def of(cls, tokens: Sequence[ChosenToken]) -> Self | None:
        """None where there are none to tell."""
        if not tokens:
            return None
        content = [
            TokenLogProb(
                token=each.chosen.token,
                logprob=each.chosen.log_prob,
                bytes=list(each.chosen.bytes),
                top_logprobs=[TopLogProb.of(likely) for likely in each.likeliest],
            )
            for each in tokens
        ]
        return cls(content=content, refusal=None)


class CompletionLogProbs(BaseModel):
    """Those of a plain completion; entry i of each list is about token i.

    top_logprobs: by the token's spelling; the chosen one is always among them.
    text_offset: the character of the answer that the token begins in.
    """

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]

    @classmethod
    def of(cls, tokens: Sequence[ChosenToken]) -> Self | None:
        """None where there are none to tell."""
        if not tokens:
            return None
        return cls(
            tokens=[each.chosen.token for each in tokens],
            token_logprobs=[each.chosen.log_prob for each in tokens],
            top_logprobs=[_by_spelling(each) for each in tokens],
            text_offset=[each.offset for each in tokens],
        )


def _by_spelling(token: ChosenToken) -> dict[str, float]:
    """Of two tokens that are spelled alike, the likelier counts."""
    told: dict[str, float] = {}
    for each in (*token.likeliest, token.chosen):
        told.setdefault(each.token, each.log_prob)
    return told
