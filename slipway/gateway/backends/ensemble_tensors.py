"""The tensors of the ensemble: what a request sends, and what a response adds to the answer.

Tensors: NVIDIA/TensorRT-LLM triton_backend, all_models/inflight_batcher_llm/{ensemble,tensorrt_llm}. The
ensembles of ONNX engines have more outputs (`onnx` below).
"""

import secrets
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
from slipway.gateway.backends.tensors import OutputTensors
from slipway.gateway.backends.triton_model import tensor

# TensorRT-LLM's value for "no token ends the sequence".
_NO_END_ID = -1
_TOP_LOG_PROBS = ["top_log_prob_ids", "top_log_probs"]
_PROMPT_LOG_PROBS = ["prompt_log_probs", "prompt_ranks"]
_TOP_PROMPT_LOG_PROBS = ["top_prompt_log_prob_ids", "top_prompt_log_probs"]


def inputs(request: GenerationRequest) -> list[InferInput]:
    """Return the ensemble's inputs: [1, 1], and [1, n] for lists."""
    sampling = request.sampling
    greedy = sampling.temperature == 0
    # TensorRT-LLM takes 0 for a missing seed, and every answer would be the same.
    seed = secrets.randbits(64) if sampling.seed is None else sampling.seed
    tensors = [
        tensor("text_input", [[request.prompt.encode()]], np.object_),
        tensor("max_tokens", [[sampling.max_tokens]], np.int32),
        tensor("stream", [[True]], np.bool_),
        tensor("return_num_output_tokens", [[True]], np.bool_),
        tensor("temperature", [[1.0 if greedy else sampling.temperature]], np.float32),
        tensor("top_p", [[sampling.top_p]], np.float32),
        tensor("top_k", [[1 if greedy else sampling.top_k]], np.int32),
        tensor("seed", [[seed]], np.uint64),
    ]
    if not request.prompt:
        tensors.append(tensor("prompt_token_ids", [request.prompt_token_ids], np.int32))
    if sampling.min_tokens:
        tensors.append(tensor("min_tokens", [[sampling.min_tokens]], np.int32))
    for name, value, neutral in (
        ("repetition_penalty", sampling.repetition_penalty, 1),
        ("presence_penalty", sampling.presence_penalty, 0),
        ("frequency_penalty", sampling.frequency_penalty, 0),
        ("min_p", sampling.min_p, 0),
    ):
        if value != neutral:
            tensors.append(tensor(name, [[value]], np.float32))
    if sampling.grammar is not None:
        tensors.append(tensor("guided_decoding_guide_type", [[sampling.grammar.kind.encode()]], np.object_))
        tensors.append(tensor("guided_decoding_guide", [[sampling.grammar.text.encode()]], np.object_))
    if request.bad_words:
        tensors.append(tensor("bad_words", [[word.encode() for word in request.bad_words]], np.object_))
    if sampling.logit_bias:
        ids, values = zip(*sampling.logit_bias, strict=True)
        tensors.append(tensor("logit_bias_ids", [ids], np.int32))
        tensors.append(tensor("logit_bias_values", [values], np.float32))
    if sampling.log_probs:
        tensors.append(tensor("return_log_probs", [[True]], np.bool_))
    if sampling.top_log_probs:
        tensors.append(tensor("num_top_log_probs", [[sampling.top_log_probs]], np.int32))
    if sampling.prompt_log_probs is not None:
        tensors.append(tensor("num_prompt_log_probs", [[sampling.prompt_log_probs]], np.int32))
    if sampling.report_end:
        tensors.append(tensor("return_end_token", [[True]], np.bool_))
    if request.stop_tokens:
        tensors.append(tensor("stop_token_ids", [list(request.stop_tokens)], np.int32))
    if sampling.ignore_eos:
        tensors.append(tensor("end_id", [[_NO_END_ID]], np.int32))
    return tensors


def outputs(request: GenerationRequest, onnx: bool) -> list[str]:
    """Return the outputs that the request needs; Triton sends no others."""
    names = ["text_output", "num_output_tokens", "end_of_sequence"]
    if onnx:
        names += ["cached_tokens", "finish_reason"]
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


def all_names(onnx: bool) -> frozenset[str]:
    """Return every tensor that a request may name: those of one that uses all that its engine can do."""
    everything = SamplingParams(
        max_tokens=1,
        min_tokens=1,
        min_p=0.5 * onnx,
        repetition_penalty=2.0,
        presence_penalty=1.0,
        frequency_penalty=1.0,
        logit_bias=((0, 1.0),),
        ignore_eos=True,
        log_probs=True,
        top_log_probs=int(onnx),
        prompt_log_probs=1 if onnx else None,
        report_end=onnx,
        grammar=Grammar("regex", "a"),
    )
    request = GenerationRequest("", "", (0,), everything, stop_tokens={0: ""}, bad_words=("a",))
    return frozenset((*(each.name() for each in inputs(request)), *outputs(request, onnx)))


def stop_inputs() -> list[InferInput]:
    """Return the inputs of the engine stage that end the generation with the request's id."""
    return [
        tensor("input_ids", [[0]], np.int32),
        tensor("input_lengths", [[1]], np.int32),
        tensor("request_output_len", [[1]], np.int32),
        tensor("stop", [[True]], np.bool_),
        tensor("streaming", [[True]], np.bool_),
    ]


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
        # The new tokens come last: TensorRT-LLM repeats the values of all earlier ones.
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
