"""The tensors of an ONNX engine's ensemble: what a request sends, and what a response adds to the answer.

Tensors: NVIDIA/TensorRT-LLM triton_backend, all_models/inflight_batcher_llm/{ensemble,tensorrt_llm}.
`slipway.triton` adds those of ONNX engines.
"""

from dataclasses import replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferResult

from slipway.contract.generation import (
    Delta,
    FinishReason,
    GenerationRequest,
    Grammar,
    PromptLogProbs,
    SamplingParams,
    TopLogProbs,
)
from slipway.gateway.backends.input_tensor import tensor
from slipway.gateway.backends.sampling_tensors import sampling_tensors
from slipway.gateway.backends.tensors import OutputTensors

_TOP_LOG_PROBS = ["top_log_prob_ids", "top_log_probs"]
_PROMPT_LOG_PROBS = ["prompt_log_probs", "prompt_ranks"]
_TOP_PROMPT_LOG_PROBS = ["top_prompt_log_prob_ids", "top_prompt_log_probs"]


def inputs(request: GenerationRequest) -> list[InferInput]:
    """Return the ensemble's inputs: [1, 1], and [1, n] for lists."""
    sampling = request.sampling
    tensors = [
        tensor("text_input", [[request.prompt.encode()]], np.object_),
        tensor("max_tokens", [[sampling.max_tokens]], np.int32),
        tensor("stream", [[True]], np.bool_),
        tensor("return_num_output_tokens", [[True]], np.bool_),
        *sampling_tensors(sampling),
    ]
    if not request.prompt:
        tensors.append(tensor("prompt_token_ids", [request.prompt_token_ids], np.int32))
    if sampling.min_p:
        tensors.append(tensor("min_p", [[sampling.min_p]], np.float32))
    if request.bad_words:
        tensors.append(tensor("bad_words", [[word.encode() for word in request.bad_words]], np.object_))
    if sampling.logit_bias:
        ids, values = zip(*sampling.logit_bias, strict=True)
        tensors.append(tensor("logit_bias_ids", [ids], np.int32))
        tensors.append(tensor("logit_bias_values", [values], np.float32))
    if sampling.top_log_probs:
        tensors.append(tensor("num_top_log_probs", [[sampling.top_log_probs]], np.int32))
    if sampling.prompt_log_probs is not None:
        tensors.append(tensor("num_prompt_log_probs", [[sampling.prompt_log_probs]], np.int32))
    if sampling.report_end:
        tensors.append(tensor("return_end_token", [[True]], np.bool_))
    if request.stop_tokens:
        tensors.append(tensor("stop_token_ids", [list(request.stop_tokens)], np.int32))
    return tensors


def outputs(request: GenerationRequest) -> list[str]:
    """Return the outputs that the request needs; Triton sends no others."""
    names = ["text_output", "num_output_tokens", "end_of_sequence", "cached_tokens", "finish_reason"]
    if _needs_ids(request):
        names.append("output_ids")
    if request.sampling.log_probs:
        names.append("output_log_probs")
    if request.sampling.top_log_probs:
        names += _TOP_LOG_PROBS
    if request.sampling.prompt_log_probs is not None:
        names += _PROMPT_LOG_PROBS
    if request.sampling.prompt_log_probs:
        names += _TOP_PROMPT_LOG_PROBS
    return names


def all_names() -> frozenset[str]:
    """Return every tensor that a request may name: those of one that uses all that the engine can do."""
    everything = SamplingParams(
        max_tokens=1,
        min_tokens=1,
        min_p=0.5,
        repetition_penalty=2.0,
        presence_penalty=1.0,
        frequency_penalty=1.0,
        logit_bias=((0, 1.0),),
        ignore_eos=True,
        log_probs=True,
        top_log_probs=1,
        prompt_log_probs=1,
        report_end=True,
        grammar=Grammar("regex", "a"),
    )
    request = GenerationRequest("", "", (0,), everything, stop_tokens={0: ""}, bad_words=("a",))
    return frozenset((*(each.name() for each in inputs(request)), *outputs(request)))


def delta(request: GenerationRequest, result: InferResult) -> Delta:
    """Return what a response adds to the answer; the end-of-sequence token as the request asks for it."""
    tensors = OutputTensors(result)
    new = tensors.total("num_output_tokens")
    ended = not request.sampling.ignore_eos and tensors.any("end_of_sequence")
    added = Delta(
        text=tensors.text("text_output"),
        token_count=new - ended,
        cached_tokens=tensors.total("cached_tokens") if "cached_tokens" in tensors else None,
        finish_reason=_finish_reason(tensors),
        prompt=_prompt_log_probs(request, result) if "prompt_log_probs" in tensors else None,
    )
    if not _needs_ids(request) or not new:
        return added
    count = new if request.sampling.report_end else added.token_count
    ids = tuple(result.as_numpy("output_ids").reshape(-1)[:count].tolist())
    if not request.sampling.log_probs:
        return replace(added, token_ids=ids)
    return replace(
        added,
        token_ids=ids,
        log_probs=tensors.last("output_log_probs", new)[:count],
        top_log_probs=(
            _tops(*(result.as_numpy(name)[0, 0, :count] for name in _TOP_LOG_PROBS))
            if request.sampling.top_log_probs
            else ()
        ),
    )


def _needs_ids(request: GenerationRequest) -> bool:
    """Whether text and number of tokens do not tell all of an answer."""
    return request.sampling.log_probs or bool(request.stop_tokens)


def _finish_reason(tensors: OutputTensors) -> FinishReason | None:
    text = tensors.text("finish_reason") if "finish_reason" in tensors else None
    return next((reason for reason in get_args(FinishReason) if reason == text), None)


def _prompt_log_probs(request: GenerationRequest, result: InferResult) -> PromptLogProbs:
    log_probs, ranks = (tuple(result.as_numpy(name)[0].tolist()) for name in _PROMPT_LOG_PROBS)
    if not request.sampling.prompt_log_probs:
        return PromptLogProbs(log_probs, ranks)
    return PromptLogProbs(
        log_probs, ranks, _tops(*(result.as_numpy(name)[0] for name in _TOP_PROMPT_LOG_PROBS))
    )


def _tops(ids: NDArray[np.int32], log_probs: NDArray[np.float32]) -> tuple[TopLogProbs, ...]:
    """Return those of each token from [tokens, count]; an id of -1 pads a row."""
    return tuple(
        TopLogProbs(tuple(row[row >= 0].tolist()), tuple(values[row >= 0].tolist()))
        for row, values in zip(ids, log_probs, strict=True)
    )
