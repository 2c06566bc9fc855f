"""Whether a worker process shows signs of life."""

# The parent looks once in this many seconds, and the worker sends as often, whether it has work or not.
LOOK_EVERY_S = 1.0
# Looks without a sign of life. The thread of the worker that sends needs no engine, only a moment of a core,
# so a worker that is merely slow is never silent for long.
QUIET_LOOKS = 3
HUNG_LOOKS = 15
# Seconds of one forward pass. A chunk of a prompt has at most 512 tokens; where an executor reads prompts
# whole, 8,000 tokens of a model of 8 B parameters take minutes on a laptop. Only a device that hangs takes
# longer than this.
MAX_PASS_S = 600.0


class Pulse:
    """Counts the parent's looks, not seconds: the parent may have stood still itself, as a laptop that slept.

    Any thread may call `beat`.
    """

    def __init__(self) -> None:
        self._beaten = True
        self._missed = 0
        self._pass_s = 0.0

    def beat(self) -> None:
        """The worker sent something."""
        self._beaten = True

    def in_pass(self, seconds: float) -> None:
        """How long the forward pass has taken that runs now; 0 if none does."""
        self._pass_s = seconds

    def look(self) -> None:
        """Count a look, once in LOOK_EVERY_S."""
        self._missed = 0 if self._beaten else self._missed + 1
        self._beaten = False

    @property
    def trouble(self) -> str | None:
        """What is wrong, as the end of a sentence; None while there are signs of life."""
        if self._pass_s > MAX_PASS_S:
            return f"has been in one forward pass for {self._pass_s:.0f} s"
        if self._missed >= QUIET_LOOKS:
            return f"has been silent for {self._missed * LOOK_EVERY_S:.0f} s"
        return None

    @property
    def hung(self) -> bool:
        """Whether waiting longer is of no use."""
        return self._missed >= HUNG_LOOKS or self._pass_s > MAX_PASS_S
