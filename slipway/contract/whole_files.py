"""Files and folders that take their places whole or not at all."""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from slipway.contract.disk_errors import writing
from slipway.contract.errors import NotWritten


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that takes the place of `path` at the end, or goes when there is an error.

    A link stays, and the file that it points to is replaced. Raises NotWritten when the disk is full, or
    `path` is a folder or a device.
    """
    place = path.resolve()
    if place.exists() and not place.is_file():
        raise NotWritten(f"{path} is not a regular file, and is not replaced; name another one.")
    new = place.with_name(f".{place.name}.{os.getpid()}.new")
    with writing(path), ExitStack() as undo:
        undo.callback(new.unlink, missing_ok=True)
        with new.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a power failure could leave the new name with an empty file
        if place.exists():
            new.chmod(place.stat().st_mode)
        new.replace(place)


def rename_all(pairs: Iterable[tuple[Path, Path]]) -> None:
    """Rename each first path to its second, in order; when one cannot be renamed, all are as before."""
    with ExitStack() as undo:
        for old, new in pairs:
            old.rename(new)
            undo.callback(new.rename, old)
        undo.pop_all()
