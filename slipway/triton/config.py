"""config.pbtxt as typed data; `ensemble.repository` fills it in and writes it for Triton.

The fields are those of Triton's ModelConfig (triton-inference-server/common, protobuf/model_config.proto).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

DataType = Literal["BOOL", "UINT8", "INT32", "INT64", "UINT64", "FP16", "FP32", "STRING"]
_INDENT = "  "


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output of a model.

    dims: the shape behind the batch dimension, -1 where any size fits.
    reshape: the shape the model itself sees in place of `dims`, where the two differ.
    optional, ragged: of inputs only; `ragged` lets requests of different sizes share a batch.
    """

    name: str
    dtype: DataType
    dims: tuple[int, ...]
    optional: bool = False
    ragged: bool = False
    reshape: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class PythonModel:
    """A stage that runs in a process of its own under Triton's Python backend, one instance on the CPU.

    module: where in the checkout its TritonPythonModel is.
    decoupled: a request may be answered any number of times.
    parameters: text by name, handed to the stage's `initialize`.
    files: text by name, beside the stage's code.
    prelude: statements that run before that code is imported.
    """

    name: str
    module: str
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    decoupled: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    prelude: str = ""


@dataclass(frozen=True, slots=True)
class TrtllmModel:
    """NVIDIA's engine model: TensorRT-LLM's C++ backend, which is always decoupled here.

    parameters: text by name, as the C++ code reads them.
    max_queue_size: requests that may wait before more are refused; 0 is any number, as for ONNX engines.
    max_queue_delay_us: how long a request waits for company on its way to the engine, which takes it into
        the running batch at the next step anyway; hence 0.
    """

    name: str
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
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
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    steps: tuple[Step, ...]


Model = PythonModel | TrtllmModel | Ensemble


def text(model: Model) -> str:
    """The model's config.pbtxt (protobuf text format); the same model always gives the same text."""
    return "".join(f"{line}\n" for line in _model(model))


def _model(model: Model) -> Iterator[str]:
    yield f"name: {_quoted(model.name)}"
    match model:
        case PythonModel():
            yield 'backend: "python"'
            yield f"max_batch_size: {model.max_batch_size}"
            if model.decoupled:
                yield from _block("model_transaction_policy", ["decoupled: true"])
            yield from _tensors(model)
            yield from _instance(model.parameters)
        case TrtllmModel():
            yield 'backend: "tensorrtllm"'
            yield f"max_batch_size: {model.max_batch_size}"
            yield from _block("model_transaction_policy", ["decoupled: true"])
            queue = [
                f"max_queue_delay_microseconds: {model.max_queue_delay_us}",
                f"default_queue_policy {{ max_queue_size: {model.max_queue_size} }}",
            ]
            yield from _block("dynamic_batching", queue)
            yield from _tensors(model)
            # As upstream: where the GPUs are is in the parameters.
            yield from _instance(model.parameters)
        case Ensemble():
            yield 'platform: "ensemble"'
            yield f"max_batch_size: {model.max_batch_size}"
            yield from _tensors(model)
            steps = (line for step in model.steps for line in _block("step", _step(step)))
            yield from _block("ensemble_scheduling", steps)


def _tensors(model: Model) -> Iterator[str]:
    for kind, tensors in (("input", model.inputs), ("output", model.outputs)):
        for tensor in tensors:
            yield from _block(kind, _tensor(tensor))


def _instance(parameters: Mapping[str, str]) -> Iterator[str]:
    yield from _block("instance_group", ["count: 1", "kind: KIND_CPU"])
    for key, value in parameters.items():
        body = [f"key: {_quoted(key)}", f"value {{ string_value: {_quoted(value)} }}"]
        yield from _block("parameters", body)


def _tensor(tensor: Tensor) -> Iterator[str]:
    yield f"name: {_quoted(tensor.name)}"
    yield f"data_type: TYPE_{tensor.dtype}"
    yield f"dims: {list(tensor.dims)}"
    if tensor.reshape is not None:
        yield f"reshape {{ shape: {list(tensor.reshape)} }}"
    if tensor.optional:
        yield "optional: true"
    if tensor.ragged:
        yield "allow_ragged_batch: true"


def _step(step: Step) -> Iterator[str]:
    yield f"model_name: {_quoted(step.model)}"
    yield "model_version: -1"
    for kind, names in (("input_map", step.inputs), ("output_map", step.outputs)):
        for key, value in names.items():
            yield f"{kind} {{ key: {_quoted(key)} value: {_quoted(value)} }}"


def _block(name: str, body: Iterable[str]) -> Iterator[str]:
    yield f"{name} {{"
    for line in body:
        yield _INDENT + line
    yield "}"


def _quoted(value: str) -> str:
    """A protobuf text-format string: UTF-8 stands as it is, quotes, backslashes and controls are escaped."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char >= " " else f"\\{ord(char):03o}" for char in escaped) + '"'
