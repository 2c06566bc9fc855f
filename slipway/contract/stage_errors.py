"""What kind of error a Triton stage answers with; written by `ensemble`, read by `gateway`.

It stands in the text, because Triton's streams give a client the text alone.
"""

import re

from slipway.contract.errors import InvalidRequest, ModelUnavailable, SlipwayError

_KINDS: dict[str, type[SlipwayError]] = {"INVALID_ARG": InvalidRequest, "UNAVAILABLE": ModelUnavailable}
# Triton may put the name of the ensemble before it.
_KIND = re.compile(rf"\[({'|'.join(_KINDS)})\] ")


def kind(error: SlipwayError) -> str | None:
    """Triton's name for it, if whoever asked can do something about it."""
    return next((name for name, of in _KINDS.items() if isinstance(error, of)), None)


def written(error: SlipwayError) -> str:
    """The sentence of `error`, with its kind if it has one."""
    name = kind(error)
    return f"[{name}] {error}" if name else str(error)


def read(message: str) -> tuple[type[SlipwayError] | None, str]:
    """The kind of error that `message` tells of, and the sentence without it."""
    found = _KIND.search(message)
    if found is None:
        return None, message
    return _KINDS[found[1]], message[: found.start()] + message[found.end() :]
