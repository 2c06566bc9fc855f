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
# The bounds that are tried for the drafts of several sequences in one pass.
_LONGEST_SHARED = (15, 4, 1)


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

    def choose(self, chances: Sequence[Sequence[float]], together: bool = False) -> list[int]:
        """How many tokens to draft for each running sequence; all 0 where drafting does not pay.

        chances: for each sequence the chance that its first draft token is right, that its first two are, …
        together: whether the drafts of all share a pass. Else each sequence with drafts needs its own, where
            one pass without drafts serves all.
        Drafts pay only if every sequence gets faster: no sequence waits for the drafts of another.
        """
        nothing = [0] * len(chances)
        if self._pass is None:
            return nothing
        if not together:
            lengths = [self._best(chance) for chance in chances]
            return lengths if self._pays(chances, lengths, [1 + length for length in lengths]) else nothing
        # Long drafts of one sequence may cost the others more than theirs gain; shorter ones may not.
        for longest in _LONGEST_SHARED:
            lengths = self._shared([row[:longest] for row in chances])
            if self._pays(chances, lengths, [len(chances) + sum(lengths)]):
                return lengths
        return nothing

    def _pays(
        self, chances: Sequence[Sequence[float]], lengths: Sequence[int], passes: Sequence[int]
    ) -> bool:
        """Whether every sequence gets faster with these drafts. passes: the rows of each."""
        slower = sum(map(self._cost, passes)) / self._cost(len(chances))
        return all(
            1 + sum(row[:length]) > _GAIN * slower for row, length in zip(chances, lengths, strict=True)
        )

    def _best(self, chances: Sequence[float]) -> int:
        """The fastest number of draft tokens for one sequence in a pass of its own."""
        best, best_tokens, tokens = 0, 1.0, 1.0
        for length, chance in enumerate(chances, start=1):
            tokens += chance
            if tokens * self._cost(1 + best) > best_tokens * self._cost(1 + length):
                best, best_tokens = length, tokens
        return best

    def _shared(self, chances: Sequence[Sequence[float]]) -> list[int]:
        """The numbers of draft tokens with the most tokens a second of all sequences, in one pass.

        The likeliest token first, as long as it adds more than its row costs.
        """
        lengths, rows, tokens = [0] * len(chances), len(chances), float(len(chances))
        # Chances fall along a draft, so a draft grows from its start.
        likeliest = sorted(
            ((chance, index) for index, row in enumerate(chances) for chance in row), reverse=True
        )
        for chance, index in likeliest:
            if (tokens + chance) * self._cost(rows) <= tokens * self._cost(rows + 1):
                break
            lengths[index], rows, tokens = lengths[index] + 1, rows + 1, tokens + chance
        return lengths

    def _cost(self, rows: int) -> float:
        return (self._pass or 0.0) + (rows - 1) * self._row


def _moved(average: float, value: float, weight: float) -> float:
    return average + weight * (value - average)
