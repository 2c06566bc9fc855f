"""OpenAI's two shapes of log-probabilities."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Self

from pydantic import BaseModel
from typing_extensions import TypedDict

from slipway.contract.generation import PromptLogProbs, TopLogProbs
from slipway.gateway.answers.log_probs import ChosenToken, Likelihood, bounded
from slipway.gateway.answers.prompt_tokens import PromptTokens

_NONE = TopLogProbs((), ())
# Of a prompt of one token.
NO_SCORES = PromptLogProbs((), ())


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

    token_logprobs: null for the first token of a prompt, which comes after nothing.
    top_logprobs: by the token's spelling; the token itself is always among them.
    text_offset: the character of the choice's text that the token begins in.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]

    @classmethod
    def of(cls, tokens: Sequence[ChosenToken], start: int = 0) -> Self | None:
        """None where there are no tokens. start: the character of the text that the answer begins in."""
        if not tokens:
            return None
        return cls(
            tokens=[each.chosen.token for each in tokens],
            token_logprobs=[each.chosen.log_prob for each in tokens],
            top_logprobs=[
                _by_spelling((like.token, like.log_prob) for like in (*each.likeliest, each.chosen))
                for each in tokens
            ],
            text_offset=[start + each.offset for each in tokens],
        )

    @classmethod
    def of_prompt(cls, prompt: PromptTokens, scores: PromptLogProbs, count: int) -> Self:
        """The tokens of a prompt. count: of the likeliest tokens to report with each."""
        log_probs = [bounded(each) for each in scores.log_probs]
        return cls(
            tokens=prompt.words,
            token_logprobs=[None, *log_probs],
            top_logprobs=[
                None,
                *(
                    _by_spelling((*_spelled(prompt, top, count), (word, log_prob)))
                    for word, log_prob, top in zip(
                        prompt.words[1:], log_probs, scores.top or repeat(_NONE), strict=False
                    )
                ),
            ],
            text_offset=prompt.offsets,
        )

    def before(self, rest: "CompletionLogProbs | None") -> "CompletionLogProbs":
        """These, and then the rest."""
        if rest is None:
            return self
        return CompletionLogProbs(
            tokens=self.tokens + rest.tokens,
            token_logprobs=self.token_logprobs + rest.token_logprobs,
            top_logprobs=self.top_logprobs + rest.top_logprobs,
            text_offset=self.text_offset + rest.text_offset,
        )


class RankedToken(TypedDict):
    """A token of a prompt, or one of the likeliest in its place. rank: 1 for the likeliest."""

    logprob: float
    rank: int
    decoded_token: str


# By token id; null for the first token of a prompt, which comes after nothing.
PromptLogProbList = list[dict[str, RankedToken] | None]


def prompt_log_probs(prompt: PromptTokens, scores: PromptLogProbs, count: int) -> PromptLogProbList:
    """In vLLM's shape: each token of the prompt, then `count` of the likeliest in its place."""
    entries: PromptLogProbList = [None]
    for token, log_prob, rank, top in zip(
        prompt.ids[1:], scores.log_probs, scores.ranks, scores.top or repeat(_NONE), strict=False
    ):
        likeliest = zip(top.token_ids[:count], top.log_probs[:count], strict=True)
        ranked = [(token, log_prob, rank), *((*each, place) for place, each in enumerate(likeliest, 1))]
        entry: dict[str, RankedToken] = {}
        for each, value, place in ranked:
            entry.setdefault(
                str(each), {"logprob": bounded(value), "rank": place, "decoded_token": prompt.spell(each)}
            )
        entries.append(entry)
    return entries


def _spelled(prompt: PromptTokens, top: TopLogProbs, count: int) -> Iterator[tuple[str, float]]:
    for token, log_prob in zip(top.token_ids[:count], top.log_probs[:count], strict=True):
        yield prompt.spell(token), bounded(log_prob)


def _by_spelling(tokens: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Of two tokens with the same spelling, the likelier counts, which comes first."""
    by_spelling: dict[str, float] = {}
    for token, log_prob in tokens:
        by_spelling.setdefault(token, log_prob)
    return by_spelling
