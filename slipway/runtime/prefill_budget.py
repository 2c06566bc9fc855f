"""How many prompt tokens a step may prefill beside its decode, from what both cost here; kept by `engine`."""

# A step that also prefills takes three times a decode step, up to four where it reads a prompt to its end.
# So long prompts leave the gap between the tokens of a running stream bounded, and still get two thirds of
# the machine. A prompt of one pass (`scheduler`) is read at once: 16 requests at once that are split instead
# got 0.87 of the tokens/s.
_DECODE_STEPS_PER_PREFILL = 2
# A newer figure counts an eighth: a handful of steps follow a change of load, one hiccup does not.
_WEIGHT = 1 / 8
# With nobody waiting for a next token a step may be long, but not so long that the first of many prompts
# waits for its second token until all the others are read.
IDLE_BUDGET = 512
# Fewer tokens than this cost a pass of their own and bring next to nothing.
SMALLEST_BUDGET = 8


class Pace:
    """Moving averages of a decode step and of a prompt token, in seconds."""

    def __init__(self) -> None:
        self._decode_step: float | None = None
        self._prompt_token: float | None = None

    def decoded(self, seconds: float) -> None:
        """A decode step took this long, whatever its rows."""
        self._decode_step = _moved(self._decode_step, seconds)

    def prefilled(self, tokens: int, seconds: float) -> None:
        """A pass over this many prompt tokens took this long."""
        self._prompt_token = _moved(self._prompt_token, seconds / tokens)

    def budget(self, decoding: bool) -> int:
        """Prompt tokens of the next step. decoding: whether streams run that would wait for it."""
        if not decoding:
            return IDLE_BUDGET
        if not self._decode_step or not self._prompt_token:
            return SMALLEST_BUDGET
        fair = int(_DECODE_STEPS_PER_PREFILL * self._decode_step / self._prompt_token)
        return min(max(fair, SMALLEST_BUDGET), IDLE_BUDGET)


def _moved(average: float | None, value: float) -> float:
    return value if average is None else average + _WEIGHT * (value - average)
