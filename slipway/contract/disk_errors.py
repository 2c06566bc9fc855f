"""Errors of the disk and of memory, as sentences that say what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slipway.contract.errors import NotWritten

_MAKE_ROOM = "make room there, or take a folder on another disk"
_ALLOW = "give this user the right to it, or take another folder"
_WAYS_OUT = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EFBIG: "raise the limit (ulimit -f), or take a folder on a disk that holds files of this size",
    errno.EIO: "the disk may be failing (dmesg says more): take a folder on another disk",
    errno.EROFS: _ALLOW,
    errno.EACCES: _ALLOW,
    errno.EPERM: _ALLOW,
}


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn what prevents writing `place`, a full disk or a lack of memory, into NotWritten."""
    try:
        yield
    except OSError as error:
        if (said := explain(error)) is None:
            raise
        raise NotWritten(f"{place} was not written: {said}") from None
    except MemoryError as error:
        raise NotWritten(f"{place} was not written: {explain(error)}") from None


def explain(error: OSError | MemoryError) -> str | None:
    """The reason, the file where it is known, and the way out. None for an error of another kind."""
    if isinstance(error, MemoryError):
        return "memory ran out; end other programs, add swap, or give the container more."
    if error.errno not in _WAYS_OUT:
        return None
    # Of two names, such as those of a copy, the second is the one that is written.
    name = error.filename2 or error.filename
    return f"{error.strerror}{f' ({name})' if name else ''}; {_WAYS_OUT[error.errno]}."
