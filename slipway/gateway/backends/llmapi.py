"""The backend of an engine for target tensorrt-llm-llmapi behind Triton: text in, text out.

Tensors: NVIDIA/TensorRT-LLM triton_backend, all_models/llmapi, and num_output_tokens of `slipway.triton`. The
gateway refuses before what they cannot carry.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np
from tritonclient.grpc import InferInput

from slipway.contract.generation import Delta, FinishReason, GenerationRequest, SamplingParams
from slipway.gateway.backends.input_tensor import tensor
from slipway.gateway.backends.stage_probes import llmapi_probes
from slipway.gateway.backends.triton_model import TritonModel

_OUTPUTS = ("text_output", "finish_reason", "num_output_tokens", "stop_reason")
_NOT_FINISHED = "None"
# Other reasons of `LLM` ("cancelled", "timeout") mean that Triton or the engine ended the answer.
_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


class LlmapiBackend(TritonModel):
    """One model, without stages."""

    def __init__(self, model: str, url: str) -> None:
        inputs = _inputs(GenerationRequest("", "", (), SamplingParams(max_tokens=1), stop_tokens={0: ""}))
        tensors = frozenset((*(each.name() for each in inputs), *_OUTPUTS))
        super().__init__(model, url, tensors, llmapi_probes(model))

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """Yield the answer in pieces.

        Each response has all text up to now and counts all its tokens. Cancelling the call ends the
        generation, because there is no ensemble between.
        """
        sent_text, sent_tokens, reason, stopped_by = "", 0, _NOT_FINISHED, "None"
        async with aclosing(self._responses(request.request_id, _inputs(request), _OUTPUTS)) as results:
            async for result in results:
                text = result.as_numpy("text_output")[0].decode()
                tokens = int(result.as_numpy("num_output_tokens")[0])
                reason = result.as_numpy("finish_reason")[0].decode()
                stopped_by = result.as_numpy("stop_reason")[0].decode()
                if text != sent_text or tokens != sent_tokens:
                    yield Delta(text=text[len(sent_text) :], token_count=tokens - sent_tokens)
                sent_text, sent_tokens = text, tokens
        # After the loop, so that the call ends by itself.
        if reason != _NOT_FINISHED:
            # No stop strings are sent, so what stopped it is a token.
            stop_token_id = None if stopped_by == "None" else int(stopped_by)
            yield Delta(finish_reason=_REASONS.get(reason, "cancelled"), stop_token_id=stop_token_id)


def _inputs(request: GenerationRequest) -> list[InferInput]:
    """Return the model's inputs, each of shape [1]: the model has no batch dimension."""
    sampling = request.sampling
    greedy = sampling.temperature == 0
    tensors = [
        tensor("text_input", [request.prompt.encode()], np.object_),
        tensor("streaming", [True], np.bool_),
        tensor("return_finish_reason", [True], np.bool_),
        tensor("return_stop_reason", [True], np.bool_),
        tensor("sampling_param_max_tokens", [sampling.max_tokens], np.int32),
        tensor("sampling_param_temperature", [1.0 if greedy else sampling.temperature], np.float32),
        tensor("sampling_param_top_p", [sampling.top_p], np.float32),
        tensor("sampling_param_top_k", [1 if greedy else sampling.top_k], np.int32),
    ]
    if request.stop_tokens:
        tensors.append(tensor("sampling_param_stop_token_ids", list(request.stop_tokens), np.int32))
    return tensors
