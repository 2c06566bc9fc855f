"""The matrices of a graph that the builder wrote, their data beside it, and what they read.

Used by `int8` and `int4`, which replace them. The names are those that the builder gives its nodes
(onnxruntime_genai 0.18.0); what it named otherwise would stay as it is, which `graph.check` finds.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper
from onnx.external_data_helper import ExternalDataInfo

from build.checkout import CALIBRATION_TEXT
from build.checkpoint.checkpoint import Checkpoint
from build.onnx import graph
from slipway.text.tokenizer import Tokenizer

NORMS = {
    "SimplifiedLayerNormalization": 1,
    "SkipSimplifiedLayerNormalization": 2,
}  # which input is its weight
_CALIBRATION_TOKENS = 1024
_MATRIX = re.compile(r"/model/layers\.(\d+)/(?:attn|mlp)/(qkv|q|k|v|o|gate|up|down)_proj/MatMul")
_COPIED = 16 << 20
_ALIGNMENT = 4096

FloatArray = npt.NDArray[np.float32]
Summary = TypeVar("Summary")


@dataclass(frozen=True, slots=True)
class Group:
    """Projections that read the same activations, so that these are quantised once.

    source: name of the activations. maker: the node that makes them: a norm, the attention, or in front of a
    down projection the product with what the up projection gives.
    """

    source: str
    nodes: tuple[onnx.NodeProto, ...]
    maker: onnx.NodeProto

    @property
    def is_down(self) -> bool:
        """Whether it is a down projection."""
        return "/down_proj/" in self.nodes[0].name


def groups(model: onnx.ModelProto) -> list[Group]:
    """The projections of all layers, by what they read, in the order of the graph."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        if node.op_type == "MatMulNBits" and _MATRIX.match(node.name):
            readers.setdefault(node.input[0], []).append(node)
    return [Group(source, tuple(nodes), made_by[source]) for source, nodes in readers.items()]


def watch(
    directory: Path,
    model: onnx.ModelProto,
    sources: list[str],
    checkpoint: Checkpoint,
    summary: Callable[[FloatArray], Summary],
) -> dict[str, Summary]:
    """What the graph in `directory` computes under the names `sources` while it reads the calibration text.

    summary: makes of the values of one, float32 [tokens, channels], what is returned of it.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in sources
    )
    path = directory / "calibration.onnx"  # beside the weights, which it refers to
    onnx.save(probe, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    architecture = checkpoint.architecture
    text = CALIBRATION_TEXT.read_text(encoding="utf-8")
    ids = Tokenizer.load(checkpoint.directory).encode(text)[: min(_CALIBRATION_TOKENS, architecture.context)]
    past = np.zeros((1, architecture.kv_heads, 0, architecture.head_dim), np.float32)
    feeds = {entry.name: past for entry in session.get_inputs()}
    feeds |= {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
    values = session.run(sources, feeds)
    path.unlink()
    return {name: summary(value[0]) for name, value in zip(sources, values, strict=True)}


def weight(node: onnx.NodeProto, checkpoint: Checkpoint) -> FloatArray:
    """The matrix of a projection as the checkpoint has it, float32 [out, in]; q, k and v may be one."""
    found = _MATRIX.match(node.name)
    assert found
    layer, kind = found.groups()
    block = "mlp" if kind in ("gate", "up", "down") else "self_attn"
    names = [
        f"model.layers.{layer}.{block}.{part}_proj.weight" for part in (kind if kind == "qkv" else [kind])
    ]
    return np.concatenate([checkpoint.weights.read(name).astype(np.float32) for name in names])


def keep(model: onnx.ModelProto, replaced: set[str], data: Path, sink: BinaryIO) -> list[onnx.TensorProto]:
    """Move what is not `replaced` from the old file of weights to the new one; returns those tensors."""
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in replaced]
    with data.open("rb") as source:
        for tensor in kept:
            _copy(tensor, source, sink)
    return kept


def store(name: str, array: npt.NDArray[Any], sink: BinaryIO) -> onnx.TensorProto:
    """Write a new tensor to the file of weights."""
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = onnx.TensorProto(name=name, data_type=kind, dims=array.shape)
    _refer(tensor, sink, array.nbytes)
    sink.write(np.ascontiguousarray(array).data)
    return tensor


def _refer(tensor: onnx.TensorProto, sink: BinaryIO, length: int) -> None:
    """Let `tensor` mean the next `length` bytes of the file of weights, from a page on."""
    sink.write(bytes(-sink.tell() % _ALIGNMENT))
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", graph.DATA_NAME), ("offset", sink.tell()), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


def _copy(tensor: onnx.TensorProto, source: BinaryIO, sink: BinaryIO) -> None:
    """Move the data of `tensor`, if it is in a file, and let the tensor mean its new place."""
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return
    info = ExternalDataInfo(tensor)
    source.seek(info.offset or 0)
    left = int(info.length)
    _refer(tensor, sink, left)
    while left:
        left -= sink.write(source.read(min(left, _COPIED)))
