"""An engine of target tensorrt-llm-llmapi behind Triton: text in, text out; made by `gateway.server`.

Tensors: NVIDIA/TensorRT-LLM triton_backend, all_models/llmapi, and one of our own (`ensemble.llmapi`, which
answers). What they cannot carry is refused before (`gateway.capabilities`).
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np
from tritonclient.grpc import InferInput

from slipway.contract.generation import Delta, FinishReason, GenerationRequest, SamplingParams
from slipway.gateway.backends.base import Load
from slipway.gateway.backends.triton_model import TritonModel, tensor

_OUTPUTS = ("text_output", "finish_reason", "num_output_tokens")
# "None" is said until the end. LLM ends an answer as "cancelled" or "timeout" too: then somebody else did.
_NOT_YET = "None"
_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


class LlmapiBackend:
    """One model on a Triton server. Made inside the running event loop."""

    def __init__(self, model: str, url: str) -> None:
        inputs = _inputs(GenerationRequest("", "", (), SamplingParams(max_tokens=1)))
        self._model = TritonModel(model, url, frozenset((*(each.name() for each in inputs), *_OUTPUTS)))

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """See `gateway.backends.base.Backend.generate`.

        Each response has the whole text so far and counts all its tokens. No ensemble is in between, so a
        call that is cancelled ends the generation.
        """
        told, tokens, reason = "", 0, _NOT_YET
        async with aclosing(self._model.responses(request.request_id, _inputs(request), _OUTPUTS)) as results:
            async for result in results:
                text = result.as_numpy("text_output")[0].decode()
                count = int(result.as_numpy("num_output_tokens")[0])
                reason = result.as_numpy("finish_reason")[0].decode()
                if text != told or count != tokens:
                    yield Delta(text=text[len(told) :], token_count=count - tokens)
                told, tokens = text, count
        # Only now: a call that is cancelled at its last response may keep Triton (2.51) from unloading.
        if reason != _NOT_YET:
            yield Delta(finish_reason=_REASONS.get(reason, "cancelled"))

    async def check(self) -> None:
        """See `gateway.backends.base.Backend.check`."""
        await self._model.check()

    async def probe(self) -> None:
        """See `gateway.backends.base.Backend.probe`."""
        await self._model.probe()

    async def bring_up(self) -> None:
        """See `gateway.backends.base.Backend.bring_up`."""
        await self._model.bring_up()

    async def take_down(self) -> None:
        """See `gateway.backends.base.Backend.take_down`."""
        await self._model.take_down()

    async def close(self) -> None:
        """See `gateway.backends.base.Backend.close`."""
        await self._model.close()

    @property
    def load(self) -> Load | None:
        """Triton publishes it on its own metrics port."""
        return None


def _inputs(request: GenerationRequest) -> list[InferInput]:
    """The model's inputs, each [1]: it has no batch dimension."""
    sampling = request.sampling
    greedy = sampling.temperature == 0
    return [
        tensor("text_input", [request.prompt.encode()], np.object_),
        tensor("streaming", [True], np.bool_),
        tensor("return_finish_reason", [True], np.bool_),
        tensor("sampling_param_max_tokens", [sampling.max_tokens], np.int32),
        tensor("sampling_param_temperature", [1.0 if greedy else sampling.temperature], np.float32),
        tensor("sampling_param_top_p", [sampling.top_p], np.float32),
        tensor("sampling_param_top_k", [1 if greedy else sampling.top_k], np.int32),
    ]
