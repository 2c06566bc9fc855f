"""The time by which a request must be over."""

import time
from dataclasses import dataclass

from slipway.contract.errors import InvalidRequest
from slipway.gateway.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """arrived: when the request arrived, by `time.monotonic`. seconds: how long it may take from then on."""

    arrived: float
    seconds: float

    def remaining(self) -> float:
        """Return the seconds from now, at least 0."""
        return max(0.0, self.arrived + self.seconds - time.monotonic())

    def shortened(self, seconds: float | None) -> "Deadline":
        """Return the deadline that the body asks for. Raises InvalidRequest if it is later than this one."""
        if seconds is None:
            return self
        if seconds > self.seconds:
            raise InvalidRequest(
                f"timeout is {seconds:g} s, but this server gives a request at most {self.seconds:g} s; ask "
                "for less, or start the server with a larger --timeout.",
                "timeout",
            )
        return Deadline(self.arrived, seconds)

    def error(self) -> DeadlineExceeded:
        """Return the error for a request that took too long."""
        return DeadlineExceeded(
            f"The request was stopped {self.seconds:g} s after its arrival, at its time limit; "
            "ask for fewer tokens, or raise the limit with `timeout`."
        )
