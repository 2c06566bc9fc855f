"""Triton models as typed data, and their config.pbtxt.

The fields are those of Triton's ModelConfig (triton-inference-server/common, protobuf/model_config.proto).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.triton.tensor_spec import TensorSpec


@dataclass(frozen=True, slots=True)
class PythonModel:
    """A stage that runs in a process of its own under Triton's Python backend, one instance on the CPU.

    module: the Python module that defines its TritonPythonModel.
    decoupled: a request may get any number of responses.
    parameters: text by name, an argument of the stage's `initialize`.
    files: text by name, beside the stage's code.
    prelude: statements that run before that code is imported.
    """

    name: str
    module: str
    max_batch_size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    decoupled: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    prelude: str = ""


@dataclass(frozen=True, slots=True)
class TrtllmModel:
    """NVIDIA's engine model: TensorRT-LLM's C++ backend, which is always decoupled here.

    parameters: text by name, as the C++ code reads them.
    max_queue_size: requests that may wait before more are refused; 0 is no limit, as for ONNX engines.
    max_queue_delay_us: how long Triton holds a request to batch it with others. 0, because the engine takes
        each request into the running batch at the next step.
    """

    name: str
    max_batch_size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Mapping[str, str]
    max_queue_size: int = 0
    max_queue_delay_us: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of an ensemble.

    inputs, outputs: by the stage's tensor name, the ensemble's name for it.
    """

    model: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ensemble:
    """A model made of other models."""

    name: str
    max_batch_size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    steps: tuple[Step, ...]


TritonModel = PythonModel | TrtllmModel | Ensemble


def text(model: TritonModel) -> str:
    """The model's config.pbtxt; the same model always gives the same text."""
    return str(text_format.MessageToString(_message(model), as_utf8=True))


def read(path: Path) -> Any:
    """A config.pbtxt as Triton's ModelConfig. Raises google.protobuf.text_format.ParseError."""
    return text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())


def _message(model: TritonModel) -> Any:
    message = model_config_pb2.ModelConfig(
        name=model.name,
        max_batch_size=model.max_batch_size,
        input=[{**_tensor(tensor), **_input_flags(tensor)} for tensor in model.inputs],
        output=[_tensor(tensor) for tensor in model.outputs],
    )
    match model:
        case PythonModel():
            message.backend = "python"
            if model.decoupled:
                message.model_transaction_policy.decoupled = True
            _add_process(message, model.parameters)
        case TrtllmModel():
            message.backend = "tensorrtllm"
            message.model_transaction_policy.decoupled = True
            message.dynamic_batching.max_queue_delay_microseconds = model.max_queue_delay_us
            message.dynamic_batching.default_queue_policy.max_queue_size = model.max_queue_size
            _add_process(message, model.parameters)
        case Ensemble():
            message.platform = "ensemble"
            for step in model.steps:
                message.ensemble_scheduling.step.add(
                    model_name=step.model, model_version=-1, input_map=step.inputs, output_map=step.outputs
                )
    return message


def _add_process(message: Any, parameters: Mapping[str, str]) -> None:
    """One instance, on the CPU also where the engine uses GPUs: as upstream, its parameters name them."""
    message.instance_group.add(count=1, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)
    for name, value in parameters.items():
        message.parameters[name].string_value = value


def _tensor(tensor: TensorSpec) -> dict[str, Any]:
    shape = {} if tensor.reshape is None else {"reshape": {"shape": tensor.reshape}}
    return {"name": tensor.name, "data_type": f"TYPE_{tensor.dtype}", "dims": tensor.dims, **shape}


def _input_flags(tensor: TensorSpec) -> dict[str, bool]:
    return {"optional": tensor.optional, "allow_ragged_batch": tensor.ragged}
