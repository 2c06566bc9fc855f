"""How long a request may take from its arrival; set by `http.visit`, held by `http.connection`."""

import time
from dataclasses import dataclass

from slipway.contract.errors import InvalidRequest
from slipway.gateway.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """arrived: when the request did, as `time.monotonic` counts. seconds: what it has from then on."""

    arrived: float
    seconds: float

    def left(self) -> float:
        """Seconds from now; not below zero."""
        return max(0.0, self.arrived + self.seconds - time.monotonic())

    def asked(self, seconds: float | None) -> "Deadline":
        """The one that the body asks for. Raises InvalidRequest where that is later than the server's."""
        if seconds is None:
            return self
        if seconds > self.seconds:
            raise InvalidRequest(
                f"timeout is {seconds:g} s, and this server gives a request {self.seconds:g} s; ask for "
                "less, or start the server with a larger --timeout.",
                "timeout",
            )
        return Deadline(self.arrived, seconds)

    def exceeded(self) -> DeadlineExceeded:
        """What the client is told."""
        return DeadlineExceeded(
            f"The request was ended {self.seconds:g} s after its arrival, the time that it had; "
            "ask for fewer tokens, or give it more with `timeout`."
        )
