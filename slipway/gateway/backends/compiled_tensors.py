"""The tensors of TensorRT-LLM's engine model: what a request sends, and what a response adds to the answer.

Tensors: NVIDIA/TensorRT-LLM triton_backend, all_models/inflight_batcher_llm/tensorrt_llm.
"""

from collections.abc import Sequence

import numpy as np
from tritonclient.grpc import InferInput, InferResult

from slipway.contract.engine_tensors import dense_bias, pack_words
from slipway.contract.generation import Delta, GenerationRequest, Grammar, SamplingParams
from slipway.contract.manifest import Manifest
from slipway.gateway.backends.input_tensor import tensor
from slipway.gateway.backends.sampling_tensors import sampling_tensors
from slipway.gateway.backends.tensors import OutputTensors


def inputs(request: GenerationRequest, manifest: Manifest) -> list[InferInput]:
    """Return the inputs: [1, 1], [1, n] for ids and biases, and [1, 2, n] for words.

    The model takes one end-of-sequence id. The others become stop words.
    """
    sampling, prompt = request.sampling, request.prompt_token_ids
    ends = () if sampling.ignore_eos else manifest.eos_token_ids
    stop_words = (*sampling.stop_token_ids, *((end,) for end in ends[1:]))
    tensors = [
        tensor("input_ids", [prompt], np.int32),
        tensor("input_lengths", [[len(prompt)]], np.int32),
        tensor("request_output_len", [[sampling.max_tokens]], np.int32),
        tensor("streaming", [[True]], np.bool_),
        *sampling_tensors(sampling, "runtime_"),
    ]
    if ends:
        tensors.append(tensor("end_id", [ends[:1]], np.int32))
    for name, words in (("stop_words_list", stop_words), ("bad_words_list", sampling.bad_token_ids)):
        if words:
            tensors.append(tensor(name, pack_words(words), np.int32))
    if sampling.logit_bias:
        bias = dense_bias((([token], value) for token, value in sampling.logit_bias), manifest.vocab_size)
        tensors.append(tensor("embedding_bias", bias, np.float32))
    return tensors


def outputs(request: GenerationRequest) -> list[str]:
    """Return the outputs that the request needs; Triton sends no others."""
    return ["output_ids", "output_log_probs"] if request.sampling.log_probs else ["output_ids"]


def all_names(manifest: Manifest) -> frozenset[str]:
    """Return every tensor that a request may name: those of one that uses all that the engine can do."""
    everything = SamplingParams(
        max_tokens=1,
        min_tokens=1,
        repetition_penalty=2.0,
        presence_penalty=1.0,
        frequency_penalty=1.0,
        logit_bias=((0, 1.0),),
        bad_token_ids=((0,),),
        stop_token_ids=((0,),),
        ignore_eos=True,
        log_probs=True,
        grammar=Grammar("regex", "a"),
    )
    request = GenerationRequest("", "", (0,), everything)
    return frozenset((*(each.name() for each in inputs(request, manifest)), *outputs(request)))


def delta(request: GenerationRequest, result: InferResult, ends: Sequence[int]) -> Delta:
    """Return what a response adds to the answer, without its text and the token that ends it.

    ends: the end-of-sequence ids; the model leaves out the first one only.
    """
    tensors = OutputTensors(result)
    ids = tensors.integers("output_ids")
    count = len(ids)
    # Elsewhere in the answer it is an ordinary token: the client set ignore_eos.
    if ids and ids[-1] in ends and not request.sampling.ignore_eos:
        count -= 1
    log_probs: tuple[float, ...] = ()
    if ids and request.sampling.log_probs:
        # The new tokens come last: the model repeats the values of all earlier ones.
        log_probs = tensors.last("output_log_probs", len(ids))[:count]
    return Delta(token_count=count, token_ids=ids[:count], log_probs=log_probs)
