"""Reads text files that a user names."""

from pathlib import Path

from slipway.contract.errors import InvalidRequest


def read_text(path: Path) -> str:
    """The text in a file.

    Raises InvalidRequest when it cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidRequest(f"{path} cannot be read as UTF-8 text ({reason}); give another file.") from None
