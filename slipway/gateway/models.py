"""The models of this server: who answers, and who waits for them; `gateway.app` looks them up here."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from slipway.contract.errors import InvalidRequest, ModelNotFound, ModelUnavailable
from slipway.gateway.backends.base import Backend
from slipway.gateway.keys.keys import ANYBODY, Caller
from slipway.gateway.prompter import Prompter
from slipway.gateway.queue import EngineQueue
from slipway.gateway.shapes.model_list import ModelCard

_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Model:
    """One model: how it is asked, who answers, and who waits for it."""

    prompter: Prompter
    backend: Backend
    queue: EngineQueue

    @property
    def name(self) -> str:
        """What clients pass as `model`."""
        return self.prompter.manifest.name

    @property
    def card(self) -> ModelCard:
        """What /v1/models says of it."""
        created = datetime.fromisoformat(self.prompter.manifest.created)
        longest = self.prompter.manifest.limits.max_seq_len
        return ModelCard(id=self.name, created=int(created.timestamp()), max_model_len=longest)


class Source(Protocol):
    """Where models come from while the server runs."""

    async def look(self) -> list[Model]:
        """Those that came since the last look."""
        ...

    async def again(self, name: str) -> Model:
        """One that came before, as it is now. Raises EngineRefused."""
        ...


class Models:
    """Every model this server knows, ready or not."""

    def __init__(self, models: list[Model], source: Source | None = None) -> None:
        """source: None where `models` are all there will ever be."""
        self._models = {model.name: model for model in models}
        self._source = source
        self._looking, self._changing = asyncio.Lock(), asyncio.Lock()
        self._looked_at = time.monotonic()

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    async def find(self, name: str | None, caller: Caller = ANYBODY) -> Model:
        """None finds the only one that the caller may use.

        Raises ModelForbidden, or ModelNotFound, which names those there are for the caller.
        """
        if name is not None:
            caller.check_model(name)
            if name not in self._models:
                await self._look()
        names = [each for each in self._models if caller.may_use(each)]
        if name is None and len(names) == 1:
            return self._models[names[0]]
        if name is None and names:
            raise InvalidRequest(f"model is missing, and there are several: {', '.join(names)}.", "model")
        model = self._models.get(name or "")
        if model is None:
            served = ", ".join(names) or "none"
            raise ModelNotFound(f"The model {(name or '')[:100]!r} is not served here; there is: {served}.")
        return model

    async def ready(self) -> list[Model]:
        """Those that answer now."""
        return [model for model, why in await self._probed() if why is None]

    async def check(self) -> None:
        """Raise ModelUnavailable, which says why of each, when no model answers."""
        reasons = [why for _, why in await self._probed()]
        if None not in reasons:
            raise ModelUnavailable(" ".join(map(str, reasons)))

    async def bring_up(self, name: str, caller: Caller) -> Model:
        """Load a model, as its engine is now, unless it is ready. Raises what `Backend.bring_up` does."""
        await self._look(every_s=0)
        model = await self.find(name, caller)
        async with self._changing:
            if await _why_away(model) is not None:
                await model.backend.bring_up()
                if self._source is not None:
                    self._models[name] = await self._source.again(name)
                    await model.backend.close()
        return self._models[name]

    async def take_down(self, name: str, caller: Caller) -> Model:
        """Unload a model, once its running answers have ended. Raises what `Backend.take_down` does."""
        model = await self.find(name, caller)
        async with self._changing:
            await model.backend.take_down()
        return model

    async def close(self) -> None:
        """Close every backend."""
        for model in self:
            await model.backend.close()

    async def _probed(self) -> list[tuple[Model, str | None]]:
        """Each model, and why it does not answer now, if it does not."""
        await self._look()
        models = list(self)
        reasons = await asyncio.gather(*(_why_away(model) for model in models))
        return list(zip(models, reasons, strict=True))

    async def _look(self, every_s: float = _LOOK_EVERY_S) -> None:
        """For models that came meanwhile, unless the last look was less than `every_s` seconds ago."""
        async with self._looking:
            if self._source is None or time.monotonic() - self._looked_at < every_s:
                return
            self._models |= {model.name: model for model in await self._source.look()}
            self._looked_at = time.monotonic()


async def _why_away(model: Model) -> str | None:
    try:
        await model.backend.probe()
    except ModelUnavailable as error:
        return str(error)
    return None
