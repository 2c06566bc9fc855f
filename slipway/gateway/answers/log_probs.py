"""The log-probabilities of an answer's tokens, each with its text and its place."""

from collections import deque
from dataclasses import dataclass
from math import isnan

from slipway.contract.generation import Delta
from slipway.text.detokenizer import Detokenizer
from slipway.text.padding import Unpadder
from slipway.text.tokenizer import Tokenizer, spelled

# What OpenAI's API says of a token that is very unlikely; JSON has neither minus infinity nor NaN.
LEAST = -9999.0


def bounded(log_prob: float) -> float:
    """A logarithm that JSON has: LEAST or above."""
    return LEAST if isnan(log_prob) else max(log_prob, LEAST)


@dataclass(frozen=True, slots=True)
class Likelihood:
    """One token that was possible. token: its text, else its name. log_prob: natural, LEAST or above."""

    token: str
    bytes: bytes
    log_prob: float


@dataclass(frozen=True, slots=True)
class ChosenToken:
    """A token of the answer.

    offset: the character of the answer that it begins in.
    likeliest: the likeliest tokens in its place, as many as were asked for.
    """

    chosen: Likelihood
    offset: int
    likeliest: tuple[Likelihood, ...]


class LogProbs:
    """Holds tokens back until their text is shown, so that none is reported that a stop string hides.

    The tokens joined equal the text: the first ones lose the padding that the text loses.
    """

    def __init__(self, tokenizer: Tokenizer, unpadder: Unpadder) -> None:
        """unpadder: of this answer's text; used here alone."""
        self._tokenizer = tokenizer
        self._unpadder = unpadder
        self._detokenizer = Detokenizer(tokenizer)
        self._characters = self._shown = 0
        self._waiting: deque[ChosenToken] = deque()

    def push(self, delta: Delta) -> None:
        """Take the tokens of the next delta, which has their ids and log-probabilities."""
        for place, (token, log_prob) in enumerate(zip(delta.token_ids, delta.log_probs, strict=True)):
            tops = delta.top_log_probs[place : place + 1]
            likeliest = tuple(
                self._likelihood(*each)
                for top in tops
                for each in zip(top.token_ids, top.log_probs, strict=True)
            )
            self._waiting.append(ChosenToken(self._likelihood(token, log_prob), self._characters, likeliest))
            self._characters += len(self._unpadder.push_start(self._detokenizer.push([token])))

    def shown(self, characters: int, start: int | None, ended: bool) -> tuple[ChosenToken, ...]:
        """The tokens to report when `characters` more of the answer are shown.

        start: the character at which reasoning ends and the answer begins; None while it has not.
        ended: whether the answer ended by itself.
        """
        self._shown += characters
        if start is None:
            return ()
        self._before(start)
        return self._rest() if ended else self._before(self._shown)

    def _before(self, offset: int) -> tuple[ChosenToken, ...]:
        """The tokens, not reported yet, that begin before this character of the answer."""
        ready = []
        while self._waiting and self._waiting[0].offset < offset:
            ready.append(self._waiting.popleft())
        return tuple(ready)

    def _rest(self) -> tuple[ChosenToken, ...]:
        """All that are left, also those without text, when the answer ended by itself."""
        rest, self._waiting = tuple(self._waiting), deque()
        return rest

    def _likelihood(self, token: int, log_prob: float) -> Likelihood:
        log_prob = bounded(log_prob)
        data = self._tokenizer.vocabulary.join([token])
        if not data:
            return Likelihood(self._tokenizer.spell(token), data, log_prob)
        text = self._unpadder.peek_start(data.decode(errors="surrogateescape"))
        data = text.encode(errors="surrogateescape")
        return Likelihood(spelled(data), data, log_prob)
