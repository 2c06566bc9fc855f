"""An engine on this machine without Triton: `runtime` in a process of its own; made by `gateway.server`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Self

from slipway.contract.generation import Delta, GenerationRequest
from slipway.gateway.backends.base import Load
from slipway.gateway.errors import NotOffered
from slipway.runtime.worker.process import EngineProcess
from slipway.text.detokenizer import Detokenizer
from slipway.text.tokenizer import Tokenizer


class LocalBackend:
    """One engine process, and the text of its tokens."""

    def __init__(self, process: EngineProcess, tokenizer: Tokenizer, model: str) -> None:
        self._process = process
        self._tokenizer = tokenizer
        self._model = model

    @classmethod
    async def start(cls, directory: Path, tokenizer: Tokenizer, model: str, threads: int | None) -> Self:
        """Start the worker and wait until the engine is loaded.

        Raises EngineRefused when the engine must not be served.
        """
        return cls(await EngineProcess.start(directory, threads=threads), tokenizer, model)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """See `gateway.backends.base.Backend.generate`."""
        detokenizer = Detokenizer(self._tokenizer)
        tokens = self._process.generate(request.request_id, request.prompt_token_ids, request.sampling)
        async with aclosing(tokens) as deltas:
            async for delta in deltas:
                text = detokenizer.push(delta.token_ids)
                yield replace(delta, text=text)

    async def check(self) -> None:
        """See `gateway.backends.base.Backend.check`."""
        self._process.check()

    async def probe(self) -> None:
        """See `gateway.backends.base.Backend.probe`."""
        await self.check()

    async def bring_up(self) -> None:
        """See `gateway.backends.base.Backend.bring_up`; it is loaded as long as the server runs."""
        await self.check()

    async def take_down(self) -> None:
        """See `gateway.backends.base.Backend.take_down`."""
        raise NotOffered(
            f"{self._model} is loaded as long as this server runs; only engines behind Triton "
            "(--backend triton) can be unloaded.",
            "model",
        )

    async def close(self) -> None:
        """See `gateway.backends.base.Backend.close`."""
        await self._process.close()

    @property
    def load(self) -> Load | None:
        """What the engine process counts."""
        stats = self._process.stats
        return Load(
            running=stats.running,
            waiting=stats.waiting,
            generated_tokens=stats.generated_tokens,
            draft_tokens=stats.draft_tokens,
            accepted_tokens=stats.accepted_tokens,
        )
