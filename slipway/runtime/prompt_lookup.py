"""Draft tokens from a sequence's own context, for sequences that repeat themselves.

Prompt lookup (Saxena 2023, apoorvumang/prompt-lookup-decoding): find the last tokens earlier in
the context and guess that the same tokens follow again. Every next token, drafted or not, shows whether the
guess was right, so the chance of a right guess is measured at no cost.
"""

from bisect import bisect_left
from collections.abc import Sequence

# Earlier places of the last two tokens that are compared; the longest match counts.
_MAX_PLACES = 16
_MAX_COMPARED = 16
# After a miss the current place is more likely right than another one where only two tokens match: those
# are often digits of a number.
_LONGER_ELSEWHERE = 3
# Guesses have classes: by how many tokens before them matched (0, 1, 2, 3-4, 5-8, 9-16, more), and by the
# outcome of the guess for the copied token. In a list, a value that changed in one line changes in the next.
_CLASS_ENDS = (0, 1, 2, 4, 8, 16)
_NOT_GUESSED, _RIGHT, _WRONG = _OUTCOMES = range(3)
# Each guess counts this much less than the next one of its class, so the averages follow the content.
_FORGET = 15 / 16
# The prior: a guess is as likely right as wrong. It weighs as much as one guess.
_PRIOR, _PRIOR_WEIGHT = 0.5, 1.0


class PromptLookup:
    """The tokens of a sequence, the place to copy the next ones from, and how often copies were right."""

    def __init__(self, token_ids: Sequence[int]) -> None:
        self._tokens: list[int] = []
        self._outcomes: list[int] = []  # of the guess for each token
        self._places: dict[tuple[int, int], list[int]] = {}  # after which positions a pair of tokens ends
        self._source: int | None = None  # position of the guessed next token
        self._matched = 0  # tokens before it that match
        kinds = len(_OUTCOMES) * (len(_CLASS_ENDS) + 1)
        self._right = [_PRIOR * _PRIOR_WEIGHT] * kinds
        self._judged = [_PRIOR_WEIGHT] * kinds
        for token in token_ids[:-1]:
            self._push(token, _NOT_GUESSED)
        self.append(token_ids[-1])

    def __len__(self) -> int:
        return len(self._tokens)

    def append(self, token: int) -> None:
        """The sequence goes on with `token`."""
        outcome = _NOT_GUESSED
        if self._source is not None:
            hit = self._tokens[self._source] == token
            self._judge(_kind(self._matched, self._outcomes[self._source]), hit)
            outcome = _RIGHT if hit else _WRONG
            # After a miss the place may still be the right one with another value in it.
            self._source += 1
            self._matched = self._matched + 1 if hit else 0
        if outcome != _RIGHT:
            self._look_up(token)
        self._push(token, outcome)

    def draft(self, most: int) -> list[int]:
        """Up to `most` guessed next tokens; none if the sequence does not repeat itself."""
        return self._from_source(self._tokens, most)

    def chances(self, most: int) -> list[float]:
        """The chance that the first token of `draft` is right, that the first two are, and so on."""
        chances: list[float] = []
        chance = 1.0
        for further, outcome in enumerate(self._from_source(self._outcomes, most)):
            kind = _kind(self._matched + further, outcome)
            chance *= self._right[kind] / self._judged[kind]
            chances.append(chance)
        return chances

    def _from_source(self, values: list[int], most: int) -> list[int]:
        """The entries of `values`, one per token, at the place to copy the next tokens from."""
        if self._source is None:
            return []
        # A sequence that repeats its very end is copied from the draft itself, round after round.
        period = len(values) - self._source
        copied = values[self._source : self._source + most]
        while len(copied) < most:
            copied.append(copied[-period])
        return copied

    def _judge(self, kind: int, hit: bool) -> None:
        self._right[kind] = self._right[kind] * _FORGET + hit
        self._judged[kind] = self._judged[kind] * _FORGET + 1

    def _look_up(self, token: int) -> None:
        """Move to the longest match of the sequence with `token` at its end; among equals, the latest.

        Stay after a miss if none is long enough.
        """
        if not self._tokens:
            return
        longest = 0 if self._source is None else _LONGER_ELSEWHERE - 1
        for place in reversed(self._places.get((self._tokens[-1], token), ())[-_MAX_PLACES:]):
            length = self._match(place - 2) + 2
            if length > longest:
                longest, self._source, self._matched = length, place, length

    def _match(self, place: int) -> int:
        """How many tokens before `place` are those before the last one, up to a limit."""
        tokens, end = self._tokens, len(self._tokens) - 1
        length = 0
        limit = min(place, _MAX_COMPARED)
        while length < limit and tokens[place - 1 - length] == tokens[end - 1 - length]:
            length += 1
        return length

    def _push(self, token: int, outcome: int) -> None:
        if self._tokens:
            self._places.setdefault((self._tokens[-1], token), []).append(len(self._tokens) + 1)
        self._tokens.append(token)
        self._outcomes.append(outcome)


def _kind(matched: int, outcome: int) -> int:
    return len(_OUTCOMES) * bisect_left(_CLASS_ENDS, matched) + outcome
