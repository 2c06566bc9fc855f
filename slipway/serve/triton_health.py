"""Whether Triton answers, and each Python stage of the models that it has ready."""

import asyncio
import threading
from pathlib import Path

from slipway.contract.errors import ModelUnavailable
from slipway.gateway.backends.stage_probes import StageDead, StageSilent, probes
from slipway.gateway.backends.triton_model import TritonModel
from slipway.serve.local_http import ask
from slipway.triton.repository import engines


class TritonHealth:
    """Asks the Triton that serves `repository`."""

    def __init__(self, repository: Path, http_url: str, grpc_address: str) -> None:
        self._repository = repository
        self._http_url = http_url
        self._grpc_address = grpc_address
        self._runner = asyncio.Runner()
        self._lock = threading.Lock()  # the watch of a Triton that died may still wait for an answer
        self._models: dict[tuple[str, str], TritonModel] = {}
        self._written_ns = 0  # when the repository was last written

    def ask(self) -> None:
        """Raise ServerFailed when Triton does not answer, StageDead or StageSilent when a stage does not."""
        ask("GET", f"{self._http_url}/v2/health/live")
        with self._lock:
            self._runner.run(self._ask_models())

    async def _ask_models(self) -> None:
        self._find_models()
        errors = [error for error in await asyncio.gather(*map(_fault, self._models.values())) if error]
        if errors:
            raise next((error for error in errors if isinstance(error, StageDead)), errors[0])

    def _find_models(self) -> None:
        """Engines may be built while Triton runs, also again for another target."""
        written = self._repository.stat().st_mtime_ns if self._repository.is_dir() else 0
        if written == self._written_ns:
            return
        self._written_ns = written
        known, self._models = self._models, {}
        for manifest in engines(self._repository):
            key = manifest.name, manifest.target.name
            self._models[key] = known.get(key) or TritonModel(
                manifest.name, self._grpc_address, frozenset(), probes(manifest.name, manifest.target)
            )


async def _fault(model: TritonModel) -> ModelUnavailable | None:
    try:
        await model.check()
    except ModelUnavailable:
        return None  # It is not loaded.
    try:
        await model.ask_stages()
    except (StageDead, StageSilent) as error:
        return error
    except ModelUnavailable:
        return None  # The stage answered that its engine starts again.
    return None
