"""The built engines below a folder, including those that are built while the server runs."""

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
    """A source of models. A damaged engine is named in the log and left out until its manifest changes."""

    def __init__(self, directory: Path, make_model: Callable[[Path, Prompter], Model]) -> None:
        """make_model: makes the model of an engine, in the running event loop."""
        self._directory = directory
        self._make_model = make_model
        self._damaged: dict[Path, int] = {}  # the time of the damaged manifest, in ns
        self._folders: dict[str, Path] = {}

    async def new_models(self) -> list[Model]:
        """Return the models of the engines that were built since the last call."""
        engines = await asyncio.to_thread(self.new_engines)
        return [self._make_model(folder, prompter) for folder, prompter in engines]

    async def reread(self, name: str) -> Model:
        """Read an engine again. Raises EngineRefused."""
        folder = self._folders[name]
        prompter = await asyncio.to_thread(Prompter.load, folder)
        return self._make_model(folder, prompter)

    def new_engines(self) -> list[tuple[Path, Prompter]]:
        """Read the engines that were built since the last call; return each folder with its prompter."""
        engines = []
        for manifest in sorted(self._directory.glob(f"*/{FILE_NAME}")):
            folder, modified = manifest.parent, _modified_ns(manifest)
            if folder in self._folders.values() or self._damaged.get(folder) == modified:
                continue
            try:
                prompter = Prompter.load(folder)
            except EngineRefused as error:
                self._damaged[folder] = modified
                _log.error("Left out: %s", error)
                continue
            self._folders[prompter.manifest.name] = folder
            engines.append((folder, prompter))
        return engines


def _modified_ns(manifest: Path) -> int:
    """Return 0 for a manifest that is being replaced."""
    try:
        return manifest.stat().st_mtime_ns
    except OSError:
        return 0
