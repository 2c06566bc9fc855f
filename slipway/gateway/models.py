"""The models of this server: their backends and their queues."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

from slipway.contract.errors import InvalidRequest, ModelNotFound, ModelUnavailable
from slipway.gateway.backends.base import Backend
from slipway.gateway.grammars.check import GrammarCheck
from slipway.gateway.keys.keys import UNRESTRICTED, Caller
from slipway.gateway.prompter import Prompter
from slipway.gateway.queue import EngineQueue
from slipway.gateway.rendering import Rendering
from slipway.gateway.shapes.model_list import ModelCard

# The alias that stands for every name that is no model's.
ANY_NAME = "*"
_REFRESH_S = 1.0


@dataclass(frozen=True, slots=True)
class Model:
    """One model: how its prompts are made, what answers them, and the queue before it.

    rendering: makes prompts of conversations.
    grammars: tries the grammars of its answers; None where an engine takes none.
    """

    prompter: Prompter
    backend: Backend
    queue: EngineQueue
    rendering: Rendering
    grammars: GrammarCheck | None = None

    @property
    def name(self) -> str:
        """What clients pass as `model`."""
        return self.prompter.manifest.name

    async def close(self) -> None:
        """Close what it holds: the backend, and the processes that render and that try grammars."""
        await self.backend.close()
        await asyncio.to_thread(self.rendering.close)
        if self.grammars is not None:
            await self.grammars.close()

    def card(self, alias: str | None = None) -> ModelCard:
        """The entry of the model, or of another name of it, in /v1/models."""
        manifest = self.prompter.manifest
        return ModelCard(
            id=alias or self.name,
            created=int(datetime.fromisoformat(manifest.created).timestamp()),
            root=self.name,
            max_model_len=manifest.limits.max_seq_len,
            default_max_tokens=manifest.default_max_tokens,
        )


class ModelSource(Protocol):
    """Where models come from while the server runs."""

    async def new_models(self) -> list[Model]:
        """Return the models that came since the last call."""
        ...

    async def reread(self, name: str) -> Model:
        """Return a model that came before, as it is now. Raises EngineRefused."""
        ...


class Models:
    """Every model this server knows, ready or not."""

    def __init__(
        self,
        models: list[Model],
        source: ModelSource | None = None,
        aliases: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """source: of more models; None if `models` are all.

        aliases: further names, each with its model's. ANY_NAME stands for every name that is no model's.
        """
        self._aliases = aliases
        self._models = {model.name: model for model in models}
        self._source = source
        self._refreshing, self._changing = asyncio.Lock(), asyncio.Lock()
        self._unloading: set[str] = set()
        self._refreshed_at = time.monotonic()

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def aliases_of(self, model: Model) -> list[str]:
        """The further names of a model."""
        return [
            alias
            for alias, name in self._aliases.items()
            if name == model.name and alias != ANY_NAME and alias not in self._models
        ]

    async def find(self, name: str | None, caller: Caller = UNRESTRICTED) -> Model:
        """Return the model `name`, or that of the alias; for None, the only one that the caller may use.

        Raises ModelForbidden, InvalidRequest, or ModelNotFound, which names the models for the caller.
        """
        if name is not None:
            if name not in self._models and name not in self._aliases:
                await self._refresh()
            name = self._resolved(name)
            caller.check_model(name)
        names = [each for each in self._models if caller.may_use(each)]
        if name is None and len(names) == 1:
            return self._models[names[0]]
        if name is None and names:
            raise InvalidRequest(
                f"model is missing, but this server has several: {', '.join(names)}.", "model"
            )
        model = self._models.get(name or "")
        if model is None:
            served = ", ".join(names) or "none"
            raise ModelNotFound(
                f"The model {(name or '')[:100]!r} is not served here; served models: {served}."
            )
        return model

    def _resolved(self, name: str) -> str:
        """The name of the model that `name` stands for."""
        if name in self._models:
            return name
        return self._aliases.get(name) or self._aliases.get(ANY_NAME, name)

    async def ready(self) -> list[Model]:
        """Return the models that answer now."""
        return [model for model, why in await self._probed() if why is None]

    async def check(self) -> None:
        """Raise ModelUnavailable, with the reason of each model, if none answers."""
        reasons = [why for _, why in await self._probed()]
        if None not in reasons:
            raise ModelUnavailable(" ".join(map(str, reasons)))

    async def load(self, name: str, caller: Caller) -> Model:
        """Load a model unless it is ready; an engine that was built again is read again.

        Raises the errors of `Backend.load`.
        """
        await self._refresh(max_age_s=0)
        model = await self.find(name, caller)
        async with self._changing:
            self._check_unloading(model)
            if await _why_not_ready(model) is not None:
                await model.backend.load()
                if self._source is not None:
                    self._models[model.name] = await self._source.reread(model.name)
                    await model.close()
        return self._models[model.name]

    async def unload(self, name: str, caller: Caller) -> Model:
        """Unload a model when its running answers have ended. Raises the errors of `Backend.unload`.

        That may take long, so it does not hold up other models; this one cannot be loaded meanwhile.
        """
        model = await self.find(name, caller)
        async with self._changing:  # not while it is loaded
            self._check_unloading(model)
            self._unloading.add(model.name)
        try:
            await model.backend.unload()
        finally:
            self._unloading.discard(model.name)
        return model

    async def close(self) -> None:
        """Close every model."""
        for model in self:
            await model.close()

    async def _probed(self) -> list[tuple[Model, str | None]]:
        """Return each model with the reason why it does not answer now, None if it does."""
        await self._refresh()
        models = list(self)
        reasons = await asyncio.gather(*(_why_not_ready(model) for model in models))
        return list(zip(models, reasons, strict=True))

    def _check_unloading(self, model: Model) -> None:
        if model.name in self._unloading:
            raise ModelUnavailable(f"{model.name} is being unloaded; wait until that has ended.")

    async def _refresh(self, max_age_s: float = _REFRESH_S) -> None:
        """Ask the source for new models, unless it was asked less than `max_age_s` seconds ago."""
        async with self._refreshing:
            if self._source is None or time.monotonic() - self._refreshed_at < max_age_s:
                return
            self._models |= {model.name: model for model in await self._source.new_models()}
            self._refreshed_at = time.monotonic()


async def _why_not_ready(model: Model) -> str | None:
    try:
        await model.backend.probe()
    except ModelUnavailable as error:
        return str(error)
    return None
