"""A request for each Python stage of an engine, which it answers at once and which changes nothing.

An answer is the only proof that a stage lives: Triton 2.51 calls a stage ready after its process has died.
"""

from collections.abc import Mapping

import numpy as np
from tritonclient.grpc import InferInput

from slipway.contract.errors import ModelUnavailable
from slipway.contract.stage_names import engine_stage, postprocessing, preprocessing
from slipway.contract.target import Target
from slipway.gateway.backends.input_tensor import tensor

# Inputs by the name of the stage.
Probes = Mapping[str, list[InferInput]]


class StageDead(ModelUnavailable):
    """The process of a stage has died or stands still; Triton does not start it again."""


class StageSilent(ModelUnavailable):
    """A stage did not answer in time."""


def probes(model: str, target: Target) -> Probes:
    """For each Python stage that Triton runs for an engine.

    NVIDIA's engine model has none. It is a part of Triton's own process, and never frees the memory of a
    `stop` request.
    """
    if target.runtime == "llmapi":
        return llmapi_probes(model)
    return _around_the_engine(model) if target.compiled else onnx_probes(model)


def onnx_probes(model: str) -> Probes:
    """For the three stages of an ONNX engine."""
    return {**_around_the_engine(model), engine_stage(model): stop_inputs()}


def llmapi_probes(model: str) -> Probes:
    """For the one model of an engine for target tensorrt-llm-llmapi."""
    return {model: [tensor("text_input", [b""], np.object_), tensor("stop", [True], np.bool_)]}


def _around_the_engine(model: str) -> Probes:
    return {preprocessing(model): _text(), postprocessing(model): _tokens()}


def stop_inputs() -> list[InferInput]:
    """Return the inputs of the engine stage that end the generation with the request's id."""
    return [
        tensor("input_ids", [[0]], np.int32),
        tensor("input_lengths", [[1]], np.int32),
        tensor("request_output_len", [[1]], np.int32),
        tensor("stop", [[True]], np.bool_),
        tensor("streaming", [[True]], np.bool_),
    ]


def _text() -> list[InferInput]:
    return [
        tensor("QUERY", [[b"a"]], np.object_),
        tensor("REQUEST_OUTPUT_LEN", [[1]], np.int32),
    ]


def _tokens() -> list[InferInput]:
    """The last token of a stream of its own, so that the stage keeps nothing of it."""
    return [
        tensor("TOKENS_BATCH", [[[0]]], np.int32),
        tensor("SEQUENCE_LENGTH", [[1]], np.int32),
        tensor("ARRIVAL_TIME", [[0]], np.int64),
        tensor("LAST_TOKEN_TIME", [[1]], np.int64),
    ]
