"""The built engines below a folder, also those that come while the server runs; made by `gateway.server`."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from slipway.contract.errors import EngineRefused
from slipway.contract.manifest import FILE_NAME
from slipway.gateway.models import Model
from slipway.gateway.prompter import Prompter

_log = logging.getLogger(__name__)


class EngineFolders:
    """See `gateway.models.Source`. A damaged engine is named in the log, and left out until it changes."""

    def __init__(self, directory: Path, model: Callable[[Path, Prompter], Model]) -> None:
        """model: makes, in the running event loop, what answers for an engine."""
        self._directory = directory
        self._model = model
        self._refused: dict[Path, int] = {}  # when the manifest was written that was no good
        self._folders: dict[str, Path] = {}

    async def look(self) -> list[Model]:
        """See `gateway.models.Source.look`."""
        found = await asyncio.to_thread(self.new)
        return [self._model(folder, prompter) for folder, prompter in found]

    async def again(self, name: str) -> Model:
        """See `gateway.models.Source.again`."""
        folder = self._folders[name]
        prompter = await asyncio.to_thread(Prompter.load, folder)
        return self._model(folder, prompter)

    def new(self) -> list[tuple[Path, Prompter]]:
        """The engines that came since the last look, read."""
        found = []
        for manifest in sorted(self._directory.glob(f"*/{FILE_NAME}")):
            folder, written = manifest.parent, _written(manifest)
            if folder in self._folders.values() or self._refused.get(folder) == written:
                continue
            try:
                prompter = Prompter.load(folder)
            except EngineRefused as error:
                self._refused[folder] = written
                _log.error("Left out: %s", error)
                continue
            self._folders[prompter.manifest.name] = folder
            found.append((folder, prompter))
        return found


def _written(manifest: Path) -> int:
    """0 for one that is being replaced at this moment."""
    try:
        return manifest.stat().st_mtime_ns
    except OSError:
        return 0
