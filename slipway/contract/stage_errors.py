"""The kind of a Triton stage's error, as a prefix of its message.

Triton's streams give a client the message only, so the message carries the kind.
"""

import re

from slipway.contract.errors import InvalidRequest, ModelUnavailable, SlipwayError

_KINDS: dict[str, type[SlipwayError]] = {"INVALID_ARG": InvalidRequest, "UNAVAILABLE": ModelUnavailable}
# Triton may put the name of the ensemble before it.
_KIND = re.compile(rf"\[({'|'.join(_KINDS)})\] ")


def kind(error: SlipwayError) -> str | None:
    """Triton's name for the kind of an error that the client can act on; None for other errors."""
    return next((name for name, of in _KINDS.items() if isinstance(error, of)), None)


def written(error: SlipwayError) -> str:
    """The message of `error`, with its kind in front if it has one."""
    name = kind(error)
    return f"[{name}] {error}" if name else str(error)


def read(message: str) -> tuple[type[SlipwayError] | None, str]:
    """The kind that `message` carries, and the message without it."""
    found = _KIND.search(message)
    if found is None:
        return None, message
    return _KINDS[found[1]], message[: found.start()] + message[found.end() :]
