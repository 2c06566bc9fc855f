"""The tensors that say how tokens are chosen: the ensemble and its engine stage have most of them in common.

Names: NVIDIA/TensorRT-LLM triton_backend, all_models/inflight_batcher_llm/{ensemble,tensorrt_llm}.
"""

import secrets

import numpy as np
from tritonclient.grpc import InferInput

from slipway.contract.generation import SamplingParams
from slipway.gateway.backends.input_tensor import tensor

# TensorRT-LLM's value for "no token ends the sequence".
_NO_END_ID = -1


def sampling_tensors(sampling: SamplingParams, prefix: str = "") -> list[InferInput]:
    """Return the inputs of both, [1, 1]. prefix: of the names top_k and top_p."""
    greedy = sampling.temperature == 0
    # TensorRT-LLM takes 0 for a missing seed, and every answer would be the same.
    seed = secrets.randbits(64) if sampling.seed is None else sampling.seed
    tensors = [
        tensor("temperature", [[1.0 if greedy else sampling.temperature]], np.float32),
        tensor(f"{prefix}top_p", [[sampling.top_p]], np.float32),
        tensor(f"{prefix}top_k", [[1 if greedy else sampling.top_k]], np.int32),
        tensor("seed", [[seed]], np.uint64),
    ]
    if sampling.min_tokens:
        tensors.append(tensor("min_tokens", [[sampling.min_tokens]], np.int32))
    for name, value, neutral in (
        ("repetition_penalty", sampling.repetition_penalty, 1),
        ("presence_penalty", sampling.presence_penalty, 0),
        ("frequency_penalty", sampling.frequency_penalty, 0),
    ):
        if value != neutral:
            tensors.append(tensor(name, [[value]], np.float32))
    if sampling.grammar is not None:
        tensors.append(tensor("guided_decoding_guide_type", [[sampling.grammar.kind.encode()]], np.object_))
        tensors.append(tensor("guided_decoding_guide", [[sampling.grammar.text.encode()]], np.object_))
    if sampling.log_probs:
        tensors.append(tensor("return_log_probs", [[True]], np.bool_))
    if sampling.ignore_eos:
        tensors.append(tensor("end_id", [[_NO_END_ID]], np.int32))
    return tensors
