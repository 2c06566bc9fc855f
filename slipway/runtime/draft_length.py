"""How many tokens to draft, from the measured cost of passes and the chance that drafts are right."""

from collections.abc import Sequence

# The weight of a new measurement: a few passes follow a change of load, one slow pass does not.
_WEIGHT = 1 / 8
# The assumed cost of one more row, as a share of a pass over one row, until it is measured and again when the
# last measurement is old (SmolLM2-135M, 2 cores: 0.15 on int8, 0.25 on int4).
_USUAL_ROW = 1 / 5
_FADE = 1 / 64
# Drafting must promise this much more speed than not drafting, because the estimates are averages.
_GAIN = 1.05


class DraftLength:
    """Moving averages, in seconds, of a pass over one row and of what each further row adds."""

    def __init__(self) -> None:
        self._pass: float | None = None
        self._row = 0.0

    def add(self, rows: int, seconds: float) -> None:
        """Count a pass over this many rows."""
        if rows == 1:
            self._row = self._row if self._pass else _USUAL_ROW * seconds
            self._pass = _moved(self._pass or seconds, seconds, _WEIGHT)
            # A cost that was once high fades, so that drafting is tried again.
            self._row = _moved(self._row, _USUAL_ROW * self._pass, _FADE)
        elif self._pass:
            self._row = _moved(self._row, max(seconds - self._pass, 0.0) / (rows - 1), _WEIGHT)

    def choose(self, chances: Sequence[Sequence[float]]) -> list[int]:
        """How many tokens to draft for each running sequence; all 0 where drafting does not pay.

        chances: for each sequence the chance that its first draft token is right, that its first two are, …
        With drafts each sequence needs a pass of its own; without, one pass serves all. So drafts pay only if
        every sequence gets faster: no sequence waits for the drafts of another.
        """
        if self._pass is None:
            return [0] * len(chances)
        lengths, expected = zip(*(self._best(chance) for chance in chances), strict=True)
        together = self._cost(len(chances))
        apart = sum(self._cost(1 + length) for length in lengths)
        pays = all(tokens / apart > _GAIN / together for tokens in expected)
        return list(lengths) if pays else [0] * len(chances)

    def _best(self, chances: Sequence[float]) -> tuple[int, float]:
        """The fastest number of draft tokens for one sequence, and the expected tokens per pass with it."""
        best, best_tokens, tokens = 0, 1.0, 1.0
        for length, chance in enumerate(chances, start=1):
            tokens += chance
            if tokens * self._cost(1 + best) > best_tokens * self._cost(1 + length):
                best, best_tokens = length, tokens
        return best, best_tokens

    def _cost(self, rows: int) -> float:
        return (self._pass or 0.0) + (rows - 1) * self._row


def _moved(average: float, value: float, weight: float) -> float:
    return average + weight * (value - average)
