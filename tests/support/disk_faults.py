"""A disk that fails at one point: the k-th of all writes, renames and new folders of a piece of work.

All that Python writes passes through here. What other programs and libraries in C write does not.
"""

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

# What a failing write raises; the errors of the system get the names of files that the call has.
KINDS: dict[str, Callable[..., BaseException]] = {
    "ENOSPC": lambda *names: _of_system(errno.ENOSPC, *names),
    "EIO": lambda *names: _of_system(errno.EIO, *names),
    "MemoryError": lambda *_: MemoryError(),
}
_CALLS = ("mkdir", "rename", "replace", "symlink", "link", "fsync", "ftruncate", "write", "sendfile")
_WITHOUT_NAMES = ("fsync", "ftruncate", "write")


class Disk:
    """Counts the points in `points`, and fails at the point `fails_at`, counted from 1.

    A full disk stays full: only names can be changed there afterwards.
    """

    def __init__(self, fails_at: int | None = None, kind: str = "ENOSPC") -> None:
        self.points: list[str] = []
        self._fails_at = fails_at
        self._kind = kind

    def pass_point(self, what: str, *names: object) -> None:
        """Count a point, and raise when it is the one that fails."""
        self.points.append(what)
        point, fails_at = len(self.points), self._fails_at or len(self.points) + 1
        full = self._kind == "ENOSPC" and point > fails_at and what not in ("rename", "replace")
        if point == fails_at or full:
            raise KINDS[self._kind](*names)

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Let all that is opened to be written, and the calls of the system, pass through here."""
        real_open, real_os_open = io.open, os.open

        def opened(file: Any, mode: str = "r", buffering: int = -1, *more: Any, **options: Any) -> Any:
            if not set(mode) & set("wax+") or isinstance(file, int):
                return real_open(file, mode, buffering, *more, **options)
            self.pass_point("open", file)
            raw = _File(self, file, mode.replace("b", "").replace("t", ""))
            binary: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return binary if "b" in mode else io.TextIOWrapper(binary, *more, **options)

        def os_opened(path: Any, flags: int, *more: Any, **options: Any) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.pass_point("os.open", path)
            return real_os_open(path, flags, *more, **options)

        with mock.patch.multiple(builtins, open=opened), mock.patch.multiple(io, open=opened):
            calls: dict[str, Any] = {name: self._failing(name, getattr(os, name)) for name in _CALLS}
            with mock.patch.multiple("os", open=os_opened, **calls):
                yield

    def _failing(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            if name != "mkdir" or not Path(arguments[0]).is_dir():  # one that is there takes no room
                self.pass_point(name, *(() if name in _WITHOUT_NAMES else arguments[:2]))
            return call(*arguments, **options)

        return called


class _File(io.FileIO):
    """A file whose writes reach the disk; Python's buffers and texts are those of any file."""

    def __init__(self, disk: Disk, file: Any, mode: str) -> None:
        super().__init__(file, mode)
        self._disk = disk

    def write(self, data: Any) -> int:
        self._disk.pass_point("write")
        return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        self._disk.pass_point("truncate")
        return super().truncate(size)


def _of_system(number: int, *names: object) -> OSError:
    paths = [name for name in names if isinstance(name, (str, os.PathLike))]
    error = OSError(number, os.strerror(number), *(str(name) for name in paths[:1]))
    if len(paths) > 1:
        error.filename2 = str(paths[1])
    return error
