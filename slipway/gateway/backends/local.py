"""The backend of an engine on this machine without Triton: `slipway.runtime` in a process of its own."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Self

from slipway.contract.generation import Delta, GenerationRequest
from slipway.gateway.backends.stop_token import without_stop_token
from slipway.gateway.errors import NotOffered
from slipway.runtime.stats import EngineStats
from slipway.runtime.worker.process import EngineProcess
from slipway.text.detokenizer import Detokenizer
from slipway.text.tokenizer import Tokenizer


class LocalBackend:
    """One engine process, and the tokenizer that turns its tokens into text."""

    def __init__(self, process: EngineProcess, tokenizer: Tokenizer, model: str) -> None:
        self._process = process
        self._tokenizer = tokenizer
        self._model = model

    @classmethod
    async def start(cls, directory: Path, tokenizer: Tokenizer, model: str, threads: int | None) -> Self:
        """Start the engine process and return when the engine is loaded.

        Raises EngineRefused when the engine must not be served.
        """
        return cls(await EngineProcess.start(directory, threads=threads), tokenizer, model)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """Yield the answer in pieces."""
        detokenizer = Detokenizer(self._tokenizer)
        tokens = self._process.generate(request.request_id, request.prompt_token_ids, request.sampling)
        async with aclosing(tokens) as deltas:
            async for delta in deltas:
                if delta.finish_reason == "stop":
                    delta = without_stop_token(delta, request.stop_tokens, request.sampling.report_end)
                yield replace(delta, text=detokenizer.push(delta.token_ids[: delta.token_count]))

    async def check(self) -> None:
        """Raise ModelUnavailable while the engine process restarts."""
        self._process.check()

    async def probe(self) -> None:
        """Same as `check`: the state of the process is always known."""
        await self.check()

    async def load(self) -> None:
        """Same as `check`: the engine is loaded while the server runs."""
        await self.check()

    async def unload(self) -> None:
        """Raise NotOffered."""
        raise NotOffered(
            f"{self._model} stays loaded while this server runs; only engines behind Triton "
            "(--backend triton) can be unloaded.",
            "model",
        )

    async def close(self) -> None:
        """End the engine process."""
        await self._process.close()

    @property
    def stats(self) -> EngineStats | None:
        """The figures of the engine's last step."""
        return self._process.stats
