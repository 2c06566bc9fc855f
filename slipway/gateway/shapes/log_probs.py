"""OpenAI's two shapes of log-probabilities."""

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel

from slipway.gateway.answers.log_probs import ChosenToken, Likelihood


class TopLogProb(BaseModel):
    """One likely token. bytes: of its text; empty where it has no text."""

    token: str
    logprob: float
    bytes: list[int]

    @classmethod
    def of(cls, likely: Likelihood) -> Self:
        """In this shape."""
        return cls(token=likely.token, logprob=likely.log_prob, bytes=list(likely.bytes))


class TokenLogProb(TopLogProb):
    """One token of the answer, and the likeliest tokens in its place."""

    top_logprobs: list[TopLogProb]


class ChatLogProbs(BaseModel):
    """The log-probabilities of a chat's answer, or of what one chunk adds to it."""

    content: list[TokenLogProb]
    refusal: None

    @classmethod
    def of(cls, tokens: Sequence[ChosenToken]) -> Self | None:
        """None where there are no tokens."""
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
    """The log-probabilities of a plain completion; entry i of each list is about token i.

    top_logprobs: by the token's spelling; the chosen one is always among them.
    text_offset: the character of the answer that the token begins in.
    """

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]

    @classmethod
    def of(cls, tokens: Sequence[ChosenToken]) -> Self | None:
        """None where there are no tokens."""
        if not tokens:
            return None
        return cls(
            tokens=[each.chosen.token for each in tokens],
            token_logprobs=[each.chosen.log_prob for each in tokens],
            top_logprobs=[_by_spelling(each) for each in tokens],
            text_offset=[each.offset for each in tokens],
        )


def _by_spelling(token: ChosenToken) -> dict[str, float]:
    """Of two tokens with the same spelling, the likelier counts."""
    by_spelling: dict[str, float] = {}
    for each in (*token.likeliest, token.chosen):
        by_spelling.setdefault(each.token, each.log_prob)
    return by_spelling
