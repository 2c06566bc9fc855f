"""The backend of an ONNX engine behind Triton: one gRPC stream per request to the engine's ensemble."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from slipway.contract.errors import SlipwayError
from slipway.contract.generation import Delta, FinishReason, GenerationRequest
from slipway.contract.stage_names import engine_stage
from slipway.gateway.backends import ensemble_tensors
from slipway.gateway.backends.stage_probes import onnx_probes, stop_inputs
from slipway.gateway.backends.stop_token import without_stop_token
from slipway.gateway.backends.triton_model import TritonModel
from slipway.text.detokenizer import Detokenizer
from slipway.text.tokenizer import Tokenizer

# A stop request is answered at once. If it is not, the server hangs, and its own timeouts end the answer.
_STOP_TIMEOUT_S = 5.0

_log = logging.getLogger(__name__)


class EnsembleBackend(TritonModel):
    """One ensemble: preprocessing, engine and postprocessing."""

    stages = True
    linger_s = _STOP_TIMEOUT_S

    def __init__(self, model: str, url: str, tokenizer: Tokenizer) -> None:
        super().__init__(model, url, ensemble_tensors.all_names(), onnx_probes(model))
        self._tokenizer = tokenizer

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """Yield the answer in pieces."""
        running = True
        reason: FinishReason | None = None
        stop_token_id: int | None = None
        detokenizer = Detokenizer(self._tokenizer)
        inputs, outputs = ensemble_tensors.inputs(request), ensemble_tensors.outputs(request)
        try:
            async with aclosing(self._responses(request.request_id, inputs, outputs)) as results:
                async for result in results:
                    delta = ensemble_tensors.delta(request, result)
                    reason = delta.finish_reason
                    if request.stop_tokens:
                        # The stage's text has the stop token too.
                        if reason == "stop":
                            report_end = request.sampling.report_end
                            delta = without_stop_token(delta, request.stop_tokens, report_end)
                            stop_token_id = delta.stop_token_id
                        delta = replace(delta, text=detokenizer.push(delta.token_ids[: delta.token_count]))
                    if delta.text or delta.token_ids or delta.token_count or delta.cached_tokens is not None:
                        yield replace(delta, finish_reason=None, stop_token_id=None)
            running = False
        except SlipwayError:
            running = False
            raise
        finally:
            if running:
                await asyncio.shield(self._in_background(self._stop(request.request_id)))
        yield Delta(finish_reason=reason, stop_token_id=stop_token_id)

    async def _stop(self, request_id: str) -> None:
        """Tell the engine stage to end a generation: an ensemble does not pass a cancellation on."""
        try:
            await self._ask(engine_stage(self._name), request_id, stop_inputs(), _STOP_TIMEOUT_S)
        except SlipwayError as error:
            _log.warning("Triton did not stop request %s: %s", request_id, error)
