"""What comes next if a sequence repeats itself: draft tokens from its own context; one per `sequence`.

Prompt lookup (Saxena 2023, apoorvumang/prompt-lookup-decoding): find where the last tokens stood before and
guess that what followed them there follows again. Every token that then comes, drafted or not, shows whether
the guess was right, so how far guesses can be trusted is known without paying for it.
"""

from collections.abc import Sequence

# Places where the last two tokens stood before that are compared; the longest match counts.
_MOST_PLACES = 16
_LONGEST_COMPARED = 16
# Guesses are told apart by how many tokens before them matched: 0, 1, 2, 3-4, 5-8, 9-16, more.
_CLASS_ENDS = (0, 1, 2, 4, 8, 16)
# One guess counts this much less than the next one of its class, so a change of content is noticed.
_FORGET = 15 / 16
# Before anything is known, a guess is as likely right as wrong; that belief weighs as much as one guess.
_PRIOR, _PRIOR_WEIGHT = 0.5, 1.0


class PromptLookup:
    """The tokens of a sequence, where its next ones may be copied from, and how often that was right."""

    def __init__(self, token_ids: Sequence[int]) -> None:
        self._tokens: list[int] = []
        self._places: dict[tuple[int, int], list[int]] = {}  # after which positions a pair of tokens ends
        self._source: int | None = None  # position of the guessed next token
        self._matched = 0  # tokens before it that match
        self._right = [_PRIOR * _PRIOR_WEIGHT] * (len(_CLASS_ENDS) + 1)
        self._judged = [_PRIOR_WEIGHT] * (len(_CLASS_ENDS) + 1)
        for token in token_ids[:-1]:
            self._push(token)
        self.append(token_ids[-1])

    def __len__(self) -> int:
        return len(self._tokens)

    def append(self, token: int) -> None:
        """The sequence goes on with `token`."""
        hit = self._source is not None and self._tokens[self._source] == token
        if self._source is not None:
            self._judge(hit)
            # After a miss the place may still be the right one with another value in it.
            self._source += 1
            self._matched = self._matched + 1 if hit else 0
        if not hit:
            self._look_up(token)
        self._push(token)

    def draft(self, most: int) -> list[int]:
        """The guessed next tokens, none if the sequence does not repeat itself."""
        if self._source is None:
            return []
        # A sequence that repeats its very end is copied from the draft itself, round after round.
        period = len(self._tokens) - self._source
        draft = self._tokens[self._source : self._source + most]
        while len(draft) < most:
            draft.append(draft[-period])
        return draft

    def chances(self, most: int) -> list[float]:
        """How likely the first token of `draft` is right, the first two are, and so on."""
        chances: list[float] = []
        chance = 1.0
        for matched in range(self._matched, self._matched + most if self._source is not None else 0):
            kind = _class(matched)
            chance *= self._right[kind] / self._judged[kind]
            chances.append(chance)
        return chances

    def _judge(self, hit: bool) -> None:
        kind = _class(self._matched)
        self._right[kind] = self._right[kind] * _FORGET + hit
        self._judged[kind] = self._judged[kind] * _FORGET + 1

    def _look_up(self, token: int) -> None:
        """Move to the longest match of the sequence with `token` at its end; of equals, the latest."""
        if not self._tokens:
            return
        longest = 0
        for place in reversed(self._places.get((self._tokens[-1], token), ())[-_MOST_PLACES:]):
            length = self._match(place - 2) + 2
            if length > longest:
                longest, self._source, self._matched = length, place, length

    def _match(self, place: int) -> int:
        """How many tokens before `place` are those before the last one, up to a limit."""
        tokens, end = self._tokens, len(self._tokens) - 1
        length = 0
        limit = min(place, _LONGEST_COMPARED)
        while length < limit and tokens[place - 1 - length] == tokens[end - 1 - length]:
            length += 1
        return length

    def _push(self, token: int) -> None:
        if self._tokens:
            self._places.setdefault((self._tokens[-1], token), []).append(len(self._tokens) + 1)
        self._tokens.append(token)


def _class(matched: int) -> int:
    for kind, end in enumerate(_CLASS_ENDS):
        if matched <= end:
            return kind
    return len(_CLASS_ENDS)
