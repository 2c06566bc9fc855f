"""The place of one engine or converted checkpoint: built beside it, put there whole or not at all.

Used by `engine`, `convert` and `merge`.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from build import progress
from slipway.contract.errors import BuildError


@dataclass(frozen=True, slots=True)
class Destination:
    """Beside `directory` lie, hidden: NAME.lock, NAME.building during a build, NAME.old while it is replaced.

    The work happens in a folder of a fresh name below NAME.building: when a killed build leaves a child
    process behind, what that still writes cannot land in the next build. A link stays, and what it leads to
    is replaced.
    """

    directory: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this engine against other builds, and clear away what a killed one left.

        Raises BuildError at once when another process holds it, or it cannot be replaced.
        """
        if self._place.is_mount():
            raise BuildError(
                f"{self.directory} is where a disk is mounted, so no finished folder can take its place; "
                "name a folder inside it."
            )
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
        """An empty folder to build in; what is left of it afterwards is removed."""
        building = self._beside("building")
        building.mkdir()
        try:
            yield Path(tempfile.mkdtemp(dir=building))
        finally:
            shutil.rmtree(building)

    def put(self, built: Path) -> None:
        """Rename `built` to its place; the engine that was there is removed last."""
        old = self._beside("old")
        if self._place.exists():
            self._place.rename(old)
        built.rename(self._place)
        if old.exists():
            shutil.rmtree(old)

    @property
    def log(self) -> Path:
        """Where a failing step leaves its words."""
        return self._beside("log")

    def _recover(self) -> None:
        building, left, old = (self._beside(what) for what in ("building", "interrupted", "old"))
        if left.exists():
            shutil.rmtree(left)
        if building.exists():
            progress.say(f"The previous build of {self.directory} was interrupted; starting over.")
            building.rename(left)  # so that a child still at work can add nothing while it is removed
            shutil.rmtree(left)
        if old.exists():
            if self._place.exists():
                shutil.rmtree(old)
            else:
                progress.say(f"Replacing {self.directory} was interrupted; what was there before is back.")
                old.rename(self._place)

    @property
    def _place(self) -> Path:
        """The folder itself, behind links and dots: only that can be renamed and removed."""
        return self.directory.resolve()

    def _beside(self, what: str) -> Path:
        return self._place.parent / f".{self._place.name}.{what}"


def check_room(output: Path, size: int, what: str) -> None:
    """Raise BuildError unless there are `size` bytes free where `output` is to be."""
    parent = next(path for path in output.resolve().parents if path.exists())
    free = shutil.disk_usage(parent).free
    if free < size:
        raise BuildError(
            f"The {what} takes {size / 1e6:,.0f} MB and {parent} has {free / 1e6:,.0f} MB free; make room or "
            "name a folder on another disk."
        )
