"""A stand-in for TensorRT-LLM's C++ backend: our ONNX engine stage, with that backend's behaviour.

Sources in NVIDIA/TensorRT-LLM 1.2: triton_backend/inflight_batcher_llm/src (model_instance_state.cc,
utils.cc), cpp/tensorrt_llm/batch_manager (llmRequest.cpp, trtGptModelInflightBatching.cpp: updateRequests).
"""

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from slipway.contract.errors import InvalidRequest, SlipwayError
from slipway.contract.generation import Delta
from slipway.contract.manifest import Manifest
from slipway.triton import engine_folder, interface
from slipway.triton.stages import engine, running_answers, stage, token_answer
from slipway.triton.stages.request import Array, EngineRequest, wants_stop

_GUIDE_TYPES = (b"json", b"json_schema", b"regex", b"ebnf_grammar")
# Metrics of a request without draft tokens and without cache statistics.
_OTHER_METRICS: Mapping[str, Array] = {
    **{
        name: np.zeros((1, 1), np.int32)
        for name in (
            "kv_cache_alloc_new_blocks",
            "kv_cache_reused_blocks",
            "kv_cache_alloc_total_blocks",
            "total_accepted_draft_tokens",
            "total_draft_tokens",
        )
    },
    "first_scheduled_time_ns": np.ones((1, 1), np.int64),
    "acceptance_rate": np.zeros((1, 1), np.float32),
}
_OUTPUTS = {tensor.name for tensor in interface.ENGINE_OUTPUTS}

# cancellation_check_period_ms
running_answers._LOOK_EVERY_S = 0.1


class _Answer(token_answer.TokenAnswer):
    """Each response has the log-probabilities of all tokens so far, and upstream's outputs only."""

    def __init__(self, arrived: int, request: EngineRequest) -> None:
        super().__init__(arrived, request)
        self._log_probs: list[float] = []

    def outputs(self, delta: Delta) -> dict[str, Array] | None:
        self._log_probs += delta.log_probs
        tensors = super().outputs(delta)
        if tensors is None:
            return None
        if "output_log_probs" in tensors:
            tensors["output_log_probs"] = np.array([[self._log_probs]], np.float32)
        if "arrival_time_ns" in tensors:
            tensors |= _OTHER_METRICS
            if delta.finish_reason == "cancelled":
                tensors["last_token_time_ns"] = np.zeros((1, 1), np.int64)
        return {name: value for name, value in tensors.items() if name in _OUTPUTS}


def _refuse(sender: Any, error: SlipwayError) -> None:
    """Send every error as an internal error."""
    said = f"Executor failed process requestId 1 due to the following error: {error}"
    response = pb_utils.InferenceResponse(error=pb_utils.TritonError(said, pb_utils.TritonError.INTERNAL))
    sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


class _Answers(running_answers.RunningAnswers):
    """Requests are found by the client's id; of equal ids the latest counts."""

    def _named(self, request_id: str) -> list[str]:
        return [name for name, (client_id, _, _) in self._open.items() if client_id == request_id][-1:]


engine.TokenAnswer = _Answer  # type: ignore[attr-defined]
engine.RunningAnswers = _Answers  # type: ignore[attr-defined]
stage.refuse = _refuse
engine_folder.PARAMETER = "stand_in_dir"


class TritonPythonModel(engine.TritonPythonModel):
    """Only end_id ends an answer; the answer does not contain it. After a `stop` it never unloads."""

    _stopped = False

    def _accept(self, tensors: Mapping[str, Array], request_id: str, sender: Any) -> None:
        self._stopped |= wants_stop(tensors)
        known = dict(tensors)
        kind = known.get("guided_decoding_guide_type")
        if kind is not None and kind.item() not in _GUIDE_TYPES:
            del known["guided_decoding_guide_type"]
            known.pop("guided_decoding_guide", None)
        bias = known.get("embedding_bias")
        if bias is not None and (bias.dtype != np.float32 or bias.shape != (1, self._vocab_size)):
            raise InvalidRequest("The embedding bias shape is not as expected.")
        super()._accept(known, request_id, sender)

    def _begin(self, request_id: str, request: EngineRequest, sender: Any) -> None:
        sampling = request.sampling
        # `parse` returns None for the ONNX engine's own end_id and for none.
        ends = sampling.eos_token_ids
        request = replace(request, sampling=replace(sampling, ignore_eos=not ends))
        super()._begin(request_id, request, sender)

    def initialize(self, args: Mapping[str, str]) -> None:
        super().initialize(args)
        self._vocab_size = Manifest.read(engine_folder.of_stage(args)).vocab_size
        # The engine has no end_id of its own, so each request's end_id is the only one.
        self._eos_token_ids = ()

    def finalize(self) -> None:
        super().finalize()
        if self._stopped:
            threading.Event().wait()  # as the response factory of a `stop`, which holds the model
