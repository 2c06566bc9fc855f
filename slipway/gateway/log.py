"""The log on standard error: each line has the id of the request that it is about."""

import logging
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

ACCESS = "slipway.gateway.keys.access"
# Set when a request arrives; the tasks that work on it inherit the value.
request_id: ContextVar[str] = ContextVar("request_id", default="-")


def set_up(access_log: bool) -> None:
    """Log warnings and errors as text, and each request as a line of JSON if `access_log` is set."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    access = logging.getLogger(ACCESS)
    access.propagate = False
    access.setLevel(logging.INFO if access_log else logging.CRITICAL)
    access.addHandler(logging.StreamHandler())


def say(line: str, stream: TextIO) -> None:
    """Print a line. One that cannot be written, as to a log on a full disk, does not stop the server."""
    with suppress(OSError):
        print(line, file=stream, flush=True)


def now() -> str:
    """Return the time as every line has it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class LineFormatter(logging.Formatter):
    """Formats a record as one line with time, level, request id and logger."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s [%(request_id)s] %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        record.request_id = request_id.get()
        return f"{now()} {super().format(record)}"
