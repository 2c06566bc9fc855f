"""The engines that a Triton serves, asked over HTTP: which are ready, and a drain before Triton ends."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from slipway.contract.errors import ServerFailed
from slipway.contract.stage_names import all_names, engine_stage
from slipway.serve.interruption import Interruption
from slipway.serve.local_http import ask

_POLL_S = 0.2
_BUSY = ("READY", "UNLOADING")


class Engines:
    """What the Triton at `url` serves."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.ready: list[str] = []

    def find(self, console: Console, log: Path) -> None:
        """Find those that are ready; say why for the models that are not.

        log: Triton's. Raises ServerFailed when none is ready.
        """
        index = self._index()
        for model in index:
            if model.get("state") != "READY":
                reason = model.get("reason", "no reason given").strip()
                console.print(f"Not served: {model['name']}: {reason}")
        self.ready = _served(index)
        if not self.ready:
            raise ServerFailed(
                f"Triton loaded no engine (its log: {log}); correct what is named above, or build again with "
                "`make engine`."
            )

    def drain(self, seconds: float, interruption: Interruption) -> None:
        """Take no more requests, and wait until the running ones have ended.

        Triton 2.51 cannot drain an ensemble: at its end it refuses the next step of every running answer, and
        then waits for them in vain. A model that is unloaded stays until its answers have ended. The gateway
        calls the engine stage itself where TensorRT-LLM is in it, so those are unloaded after the ensembles.
        """
        deadline = time.monotonic() + seconds
        with suppress(ServerFailed):  # It does not answer, so nothing runs.
            engines = _served(self._index())
            for models in (engines, map(engine_stage, engines)):
                unloading = [model for model in models if self._unload(model)]
                while self._any_left(unloading):
                    if time.monotonic() >= deadline or interruption.urgent:
                        return
                    time.sleep(_POLL_S)

    def _any_left(self, models: Sequence[str]) -> bool:
        return any(each["name"] in models and each.get("state") in _BUSY for each in self._index())

    def _unload(self, model: str) -> bool:
        """Whether Triton does so: one of several ranks does not."""
        reply = ask("POST", f"{self._url}/v2/repository/models/{model}/unload")
        return reply.status_code == httpx.codes.OK

    def _index(self) -> list[dict[str, Any]]:
        index: list[dict[str, Any]] = ask("POST", f"{self._url}/v2/repository/index").json()
        return index


def _served(index: Sequence[dict[str, Any]]) -> list[str]:
    """The models that clients call."""
    stages = {stage for model in index for stage in all_names(model["name"]) if stage != model["name"]}
    return [model["name"] for model in index if model.get("state") == "READY" and model["name"] not in stages]
