"""What the gateway sends to TensorRT-LLM's engine model, and what it makes of the responses."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support import manifests
from tritonclient.grpc import InferInput, InferResult, service_pb2
from tritonclient.utils import deserialize_bytes_tensor, triton_to_np_dtype

from slipway.contract.generation import Delta, GenerationRequest, Grammar, SamplingParams
from slipway.contract.recipe import Limits
from slipway.gateway.backends.compiled_tensors import all_names, delta, inputs
from slipway.triton import interface
from slipway.triton.stages.request import parse

ENDS = (2, 7)
ENGINE = manifests.manifest(Limits(max_batch_size=4, max_input_len=63, max_seq_len=64), 10).model_copy(
    update={"eos_token_ids": ENDS}
)
ALL = SamplingParams(
    max_tokens=5,
    min_tokens=2,
    temperature=0.5,
    top_p=0.75,
    top_k=3,
    repetition_penalty=2.0,
    presence_penalty=1.0,
    frequency_penalty=0.5,
    logit_bias=((3, -1.5), (9, 2.0)),
    bad_token_ids=((4,), (5, 6)),
    stop_token_ids=((8,),),
    seed=2**63,
    log_probs=True,
    grammar=Grammar("regex", "한+"),
)


def sent(sampling: SamplingParams) -> list[InferInput]:
    return inputs(GenerationRequest("id", "text", (1, 4, 2), sampling), ENGINE)


def array(tensor: InferInput) -> Any:
    content = tensor._get_content()
    if tensor.datatype() == "BYTES":
        return deserialize_bytes_tensor(content).reshape(tensor.shape())
    return np.frombuffer(content, triton_to_np_dtype(tensor.datatype())).reshape(tensor.shape())


@pytest.mark.parametrize(
    "sampling", [ALL, replace(ALL, ignore_eos=True), SamplingParams(max_tokens=1, seed=0)]
)
def test_the_engine_stage_reads_what_the_request_means(sampling: SamplingParams) -> None:
    read = parse({tensor.name(): array(tensor) for tensor in sent(sampling)}, ENDS)
    assert (read.prompt_token_ids, read.streaming) == ((1, 4, 2), True)
    others = () if sampling.ignore_eos else ((7,),)
    assert read.sampling == replace(sampling, stop_token_ids=(*sampling.stop_token_ids, *others))


def test_the_tensors_are_those_of_the_model() -> None:
    specs = {spec.name: spec for spec in interface.ENGINE_INPUTS}
    for tensor in sent(ALL):
        spec, dtype = specs[tensor.name()], tensor.datatype()
        assert spec.dtype == {"BYTES": "STRING"}.get(dtype, dtype), spec.name
        batch, *dims = tensor.shape()
        assert batch == 1
        assert len(dims) == len(spec.dims), spec.name
        assert all(wanted in (-1, size) for size, wanted in zip(dims, spec.dims, strict=True)), spec.name
    names = specs.keys() | {spec.name for spec in interface.ENGINE_OUTPUTS}
    assert {tensor.name() for tensor in sent(ALL)} < all_names(ENGINE) < names


@pytest.mark.parametrize(
    ("sampling", "ids", "kept"),
    [
        (ALL, [5, 6], 2),
        (ALL, [5, 7], 1),  # an end that the model knows as a stop word
        (ALL, [7], 0),
        (ALL, [], 0),
        (replace(ALL, ignore_eos=True), [5, 7], 2),
    ],
)
def test_a_response_adds_its_tokens_without_the_end(
    sampling: SamplingParams, ids: list[int], kept: int
) -> None:
    so_far = np.array([[[-9.0, *(-0.5 * each for each in ids)]]], np.float32)
    message = service_pb2.ModelInferResponse()
    for name, dtype, values in (
        ("output_ids", "INT32", np.array([[ids]], np.int32)),
        ("output_log_probs", "FP32", so_far),
    ):
        message.outputs.add(name=name, datatype=dtype, shape=values.shape)
        message.raw_output_contents.append(values.tobytes())
    told = delta(GenerationRequest("id", "", (1,), sampling), InferResult(message), ENDS)
    log_probs = tuple(-0.5 * each for each in ids[:kept])
    assert told == Delta(token_count=kept, token_ids=tuple(ids[:kept]), log_probs=log_probs)
