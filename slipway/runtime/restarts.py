"""When a process that died is started again: at once, then after pauses that grow."""

# Seconds that a process must have worked. One that dies sooner died of the same cause again.
STABLE_S = 60.0
MAX_PAUSE_S = 30.0
# Deaths one soon after another. The pauses before the last start add up to about a quarter of a minute.
MAX_DEATHS = 5


class Restarts:
    """The deaths of one process, one soon after another."""

    def __init__(self) -> None:
        self.deaths = 0

    def pause(self, worked_s: float) -> float:
        """Count a death and return the seconds to wait before the next start: 0, 1, 2, 4, … up to 30.

        worked_s: how long the process had worked; 0 if it never did.
        """
        self.deaths = 1 if worked_s >= STABLE_S else self.deaths + 1
        return 0.0 if self.deaths == 1 else min(2.0 ** (self.deaths - 2), MAX_PAUSE_S)

    @property
    def too_many(self) -> bool:
        """Whether another start would not help."""
        return self.deaths > MAX_DEATHS
