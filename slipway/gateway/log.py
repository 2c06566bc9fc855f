"""What the server writes to standard error, with the request it is about; set up by `gateway.server`."""

import logging
from contextvars import ContextVar
from datetime import UTC, datetime

ACCESS = "slipway.gateway.keys.access"
# Set when a request arrives; the tasks that work on it inherit it.
request_id: ContextVar[str] = ContextVar("request_id", default="-")


def set_up(access_log: bool) -> None:
    """Warnings and errors as lines for people, and, where wanted, a line of JSON for each request."""
    lines = logging.StreamHandler()
    lines.setFormatter(Lines())
    logging.basicConfig(level=logging.WARNING, handlers=[lines])
    access = logging.getLogger(ACCESS)
    access.propagate = False
    access.setLevel(logging.INFO if access_log else logging.CRITICAL)
    access.addHandler(logging.StreamHandler())


def now() -> str:
    """The time, as it stands in every line."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Lines(logging.Formatter):
    """A line for people, with the id of the request that it is about."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s [%(request_id)s] %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """logging.Formatter."""
        record.request_id = request_id.get()
        return f"{now()} {super().format(record)}"
