"""What a key may still ask for: so much a minute, which comes back evenly; kept by `gateway.keys.keys`."""

import time
from collections.abc import Callable

_MINUTE_S = 60.0


class Allowance:
    """Full at first; what is taken comes back at `per_minute` a minute. It may be overdrawn."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._left = float(per_minute)
        self._at = clock()

    @property
    def left(self) -> float:
        """What may be taken now; below 0 when more was taken."""
        now = self._clock()
        self._left = min(self.per_minute, self._left + (now - self._at) * self.per_minute / _MINUTE_S)
        self._at = now
        return self._left

    def take(self, amount: int) -> None:
        """Take it, whether it is there or not: an answer's length is known when it is there."""
        self._left = self.left - amount

    def wait_s(self, amount: int) -> float:
        """Seconds until `amount` is there."""
        return max(0.0, (amount - self.left) * _MINUTE_S / self.per_minute)

    @property
    def reset_s(self) -> float:
        """Seconds until it is full again."""
        return self.wait_s(self.per_minute)
