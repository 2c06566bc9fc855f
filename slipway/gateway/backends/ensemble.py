"""The backend of an engine behind Triton: one gRPC stream per request to the engine's ensemble."""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from slipway.contract.errors import ModelUnavailable, SlipwayError
from slipway.contract.generation import Delta, FinishReason, GenerationRequest, Grammar
from slipway.contract.stage_names import engine_stage
from slipway.contract.target import Target
from slipway.gateway.backends import ensemble_tensors
from slipway.gateway.backends.stop_token import without_stop_token
from slipway.gateway.backends.triton_model import TritonModel
from slipway.gateway.grammars.check import GrammarCheck
from slipway.text.detokenizer import Detokenizer
from slipway.text.tokenizer import Tokenizer

# A busy engine stage answers a probe between two steps.
_PROBE_TIMEOUT_S = 2.0
# A stop request is answered at once. If it is not, the server hangs, and its own timeouts end the answer.
_STOP_TIMEOUT_S = 5.0

_log = logging.getLogger(__name__)


class EnsembleBackend(TritonModel):
    """One ensemble: preprocessing, engine and postprocessing."""

    stages = True

    def __init__(
        self, model: str, target: Target, url: str, tokenizer: Tokenizer, grammars: GrammarCheck | None
    ) -> None:
        """grammars: tells whether an answer is complete; None for an engine that reports it itself."""
        self._tokenizer = tokenizer
        self._onnx = not target.compiled
        super().__init__(model, url, ensemble_tensors.all_names(self._onnx))
        self._grammars = grammars
        self._stops: set[asyncio.Task[None]] = set()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """Yield the answer in pieces.

        ONNX engines send the finish reason. TensorRT-LLM does not, so it follows from the answer: "stop" if
        it has fewer tokens than allowed (end-of-sequence is not counted) or completes its grammar.
        """
        grammar = request.sampling.grammar
        tokens = 0
        text = ""
        running = True
        reason: FinishReason | None = None
        stop_token_id: int | None = None
        detokenizer = Detokenizer(self._tokenizer)
        inputs = ensemble_tensors.inputs(request)
        outputs = ensemble_tensors.outputs(request, self._onnx)
        try:
            async with aclosing(self._responses(request.request_id, inputs, outputs)) as results:
                async for result in results:
                    delta = ensemble_tensors.delta(request, result)
                    if request.stop_tokens:
                        # The stage's text has the stop token too.
                        delta = self._without_stop_token(delta, request)
                        delta = replace(delta, text=detokenizer.push(delta.token_ids[: delta.token_count]))
                        stop_token_id = delta.stop_token_id
                    tokens += delta.token_count
                    if grammar is not None:
                        text += delta.text
                    reason = delta.finish_reason or reason
                    if delta.text or delta.token_ids or delta.token_count or delta.cached_tokens is not None:
                        yield replace(delta, finish_reason=None)
            running = False
        except SlipwayError:
            running = False
            raise
        finally:
            if running:
                await self._stop(request.request_id)
        if reason is None:
            complete = tokens < request.sampling.max_tokens or await self._is_complete(grammar, text)
            reason = "stop" if complete else "length"
        yield Delta(finish_reason=reason, stop_token_id=stop_token_id)

    async def probe(self) -> None:
        """Ask Triton and the engine stage; Triton calls a stage ready while its engine restarts.

        Raises ModelUnavailable with the reason.
        """
        await super().probe()
        if self._onnx:
            try:
                await self._send_stop(secrets.token_hex(8), _PROBE_TIMEOUT_S)
            except SlipwayError as error:
                raise ModelUnavailable(f"{self._name} is not ready: {error}") from None

    async def close(self) -> None:
        """Wait for the stop requests that are under way, and close the connection."""
        if self._stops:
            await asyncio.wait(self._stops)
        await super().close()

    def _without_stop_token(self, delta: Delta, request: GenerationRequest) -> Delta:
        """TensorRT-LLM gives no finish reason; there, a stop token always ends the answer."""
        if self._onnx and delta.finish_reason != "stop":
            return delta
        return without_stop_token(delta, request.stop_tokens, request.sampling.report_end)

    async def _stop(self, request_id: str) -> None:
        """Tell the engine stage to end a generation: an ensemble does not pass a cancellation on.

        Its own task, so that the stop request arrives even when the caller is being cancelled.
        """
        task = asyncio.create_task(self._try_to_stop(request_id))
        self._stops.add(task)
        task.add_done_callback(self._stops.discard)
        await asyncio.shield(task)

    async def _try_to_stop(self, request_id: str) -> None:
        try:
            await self._send_stop(request_id, _STOP_TIMEOUT_S)
        except SlipwayError as error:
            _log.warning("Triton did not stop request %s: %s", request_id, error)

    async def _send_stop(self, request_id: str, timeout_s: float) -> None:
        """Send the engine stage a stop request and wait for its answer. Raises what the stage answers."""
        stage = engine_stage(self._name)
        inputs = ensemble_tensors.stop_inputs()
        async for _ in self._responses(request_id, inputs, model=stage, timeout_s=timeout_s):
            pass

    async def _is_complete(self, grammar: Grammar | None, answer: str) -> bool:
        if self._grammars is None or grammar is None:
            return False
        return await self._grammars.ends(grammar, answer)
