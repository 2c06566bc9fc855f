"""How many prompt tokens a step may read beside its decode, from the measured cost of both."""

# A step that also prefills takes three times a decode step, or up to four times where it reads a prompt to
# its end. So long prompts leave the gap between a stream's tokens bounded, and still get two thirds of the
# machine. A prompt of one pass is read at once: split, 16 requests at once got 0.87 of the tokens/s.
_DECODE_STEPS_PER_PREFILL = 2
# The weight of a new measurement: a few steps follow a change of load, one slow step does not.
_WEIGHT = 1 / 8
# While no stream runs a step may be long. But the first of many prompts must not wait for its second token
# until all the others are read.
MAX_BUDGET = 512
# Fewer tokens cost a pass of their own and gain next to nothing.
MIN_BUDGET = 8


class PrefillBudget:
    """Moving averages of the seconds of a decode step and of a prompt token."""

    def __init__(self) -> None:
        self._decode_step: float | None = None
        self._prompt_token: float | None = None

    def add_decode(self, seconds: float) -> None:
        """Count a decode step, of any number of rows."""
        self._decode_step = _average(self._decode_step, seconds)

    def add_prefill(self, tokens: int, seconds: float) -> None:
        """Count a pass over `tokens` prompt tokens."""
        self._prompt_token = _average(self._prompt_token, seconds / tokens)

    def tokens(self, decoding: bool) -> int:
        """Prompt tokens of the next step. decoding: whether running streams would wait for it."""
        if not decoding:
            return MAX_BUDGET
        if not self._decode_step or not self._prompt_token:
            return MIN_BUDGET
        fair = int(_DECODE_STEPS_PER_PREFILL * self._decode_step / self._prompt_token)
        return min(max(fair, MIN_BUDGET), MAX_BUDGET)


def _average(average: float | None, value: float) -> float:
    return value if average is None else average + _WEIGHT * (value - average)
