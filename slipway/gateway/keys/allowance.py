"""A rate limit: an amount per minute that refills evenly."""

import time
from collections.abc import Callable

_MINUTE_S = 60.0


class Allowance:
    """Full at first. It refills by `per_minute` a minute and may be overdrawn."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._left = float(per_minute)
        self._updated_at = clock()

    @property
    def left(self) -> float:
        """The amount that is left now; below 0 if overdrawn."""
        now = self._clock()
        self._left = min(self.per_minute, self._left + (now - self._updated_at) * self.per_minute / _MINUTE_S)
        self._updated_at = now
        return self._left

    def take(self, amount: int) -> None:
        """Take the amount even if it is not left: the length of an answer is known only when it is there."""
        self._left = self.left - amount

    def wait_s(self, amount: int) -> float:
        """Return the seconds until `amount` is left."""
        return max(0.0, (amount - self.left) * _MINUTE_S / self.per_minute)

    @property
    def reset_s(self) -> float:
        """Seconds until the allowance is full again."""
        return self.wait_s(self.per_minute)
