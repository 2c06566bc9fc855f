"""The folder that a build writes: made beside its place and renamed into it, whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from build import progress
from slipway.contract.disk_errors import writing
from slipway.contract.errors import BuildError
from slipway.contract.whole_files import rename_all


@dataclass(frozen=True, slots=True)
class Destination:
    """A folder and, hidden beside it, NAME.lock, NAME.building during a build, NAME.old while it is replaced.

    A symbolic link stays, and the folder that it points to is replaced.
    """

    directory: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock out other builds of this folder, and remove what a killed build left.

        Raises BuildError at once when another process holds the lock, or the folder cannot be replaced, and
        NotWritten when the disk or memory is full meanwhile.
        """
        if self._place.is_mount():
            raise BuildError(
                f"{self.directory} is where a disk is mounted, and a mount point cannot be replaced; "
                "name a folder inside it."
            )
        with writing(self.directory):
            self._place.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._beside("lock"), timeout=0)
            try:
                lock.acquire()
            except Timeout:
                raise BuildError(
                    f"{self.directory} is being built by another process; wait until it is done."
                ) from None
            try:
                self._recover()
                yield
            finally:
                lock.release()

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """An empty folder to build in, removed afterwards.

        Its name is new each time: a child process that outlived a killed build cannot write into this one.
        """
        building = self._beside("building")
        building.mkdir()
        try:
            yield Path(tempfile.mkdtemp(dir=building))
        finally:
            shutil.rmtree(building)

    def put(self, built: Path) -> None:
        """Rename `built` to its place; the folder that was there is removed last."""
        old = self._beside("old")
        moved = [(self._place, old)] if self._place.exists() else []
        rename_all([*moved, (built, self._place)])
        if moved:
            shutil.rmtree(old)

    @property
    def log(self) -> Path:
        """The log of the last step that ran another program."""
        return self._beside("log")

    def _recover(self) -> None:
        building, left, old = (self._beside(what) for what in ("building", "interrupted", "old"))
        if left.exists():
            shutil.rmtree(left)
        if building.exists():
            progress.say(f"The previous build of {self.directory} was interrupted; starting over.")
            building.rename(left)  # first, because a child process may still be writing into it
            shutil.rmtree(left)
        if old.exists():
            if self._place.exists():
                shutil.rmtree(old)
            else:
                progress.say(f"Replacing {self.directory} was interrupted; the previous folder is back.")
                old.rename(self._place)

    @property
    def _place(self) -> Path:
        """The folder without links and dots: only that can be renamed and removed."""
        return self.directory.resolve()

    def _beside(self, what: str) -> Path:
        return self._place.parent / f".{self._place.name}.{what}"


def check_disk_space(output: Path, size: int, what: str) -> None:
    """Raise BuildError unless `size` bytes are free where `output` will be."""
    parent = next(path for path in output.resolve().parents if path.exists())
    free = shutil.disk_usage(parent).free
    if free < size:
        raise BuildError(
            f"The {what} takes {size / 1e6:,.0f} MB and {parent} has {free / 1e6:,.0f} MB free; make room or "
            "name a folder on another disk."
        )
