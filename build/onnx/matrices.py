"""The matrices of the builder's graph: what they read, and how they are replaced.

They are found by the names that the builder gives its nodes (onnxruntime_genai 0.18.0).
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo

from build.checkpoint.calibration_ids import calibration_ids
from build.checkpoint.checkpoint import Checkpoint
from build.onnx import graph

# The input of a norm that is its weight.
NORMS = {"SimplifiedLayerNormalization": 1, "SkipSimplifiedLayerNormalization": 2}
_MATRIX = re.compile(r"/model/layers\.(\d+)/(?:attn|mlp)/(qkv|q|k|v|o|gate|up|down)_proj/MatMul")
_COPY_BYTES = 16 << 20
_PAGE = 4096

FloatArray = npt.NDArray[np.float32]
Summary = TypeVar("Summary")


@dataclass(frozen=True, slots=True)
class Group:
    """Projections that read the same activations, so that these are quantized once.

    source: name of the activations. maker: the node that computes them: a norm, the attention, or for a down
    projection the product of gate and up.
    """

    source: str
    nodes: tuple[onnx.NodeProto, ...]
    maker: onnx.NodeProto

    @property
    def is_down(self) -> bool:
        """Whether the group is a down projection."""
        return "/down_proj/" in self.nodes[0].name


def groups(model: onnx.ModelProto) -> list[Group]:
    """The projections of all layers, by the activations they read, in the order of the graph."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        if node.op_type == "MatMulNBits" and _MATRIX.match(node.name):
            readers.setdefault(node.input[0], []).append(node)
    return [Group(source, tuple(nodes), made_by[source]) for source, nodes in readers.items()]


def observe(
    directory: Path,
    model: onnx.ModelProto,
    sources: list[str],
    checkpoint: Checkpoint,
    summary: Callable[[FloatArray], Summary],
) -> dict[str, Summary]:
    """Run the graph in `directory` on the calibration text; returns a summary of each tensor in `sources`.

    summary: called with the values of one tensor, float32 [tokens, channels].
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in sources
    )
    path = directory / "calibration.onnx"  # beside the file of weights, which it refers to
    onnx.save(probe, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    architecture = checkpoint.architecture
    ids = calibration_ids(checkpoint)
    past = np.zeros((1, architecture.kv_heads, 0, architecture.head_dim), np.float32)
    feeds = {entry.name: past for entry in session.get_inputs()}
    feeds |= {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
    values = session.run(sources, feeds)
    path.unlink()
    return {name: summary(value[0]) for name, value in zip(sources, values, strict=True)}


def weight(node: onnx.NodeProto, checkpoint: Checkpoint) -> FloatArray:
    """The matrix of a projection from the checkpoint, float32 [out, in]; q, k and v may be one matrix."""
    found = _MATRIX.match(node.name)
    assert found
    layer, kind = found.groups()
    block = "mlp" if kind in ("gate", "up", "down") else "self_attn"
    names = [
        f"model.layers.{layer}.{block}.{part}_proj.weight" for part in (kind if kind == "qkv" else [kind])
    ]
    return np.concatenate([checkpoint.weights.read(name).astype(np.float32) for name in names])


@contextmanager
def rewrite(
    directory: Path, model: onnx.ModelProto, replaced: set[str]
) -> Iterator[Callable[[str, npt.NDArray[Any]], None]]:
    """Replace tensors of the model in `directory`; yields a function that adds a new one.

    replaced: names of the tensors that go. At the end the model and its file of weights are written.
    """
    data = directory / graph.DATA_NAME
    rewritten = data.with_suffix(".new")
    with data.open("rb") as source, rewritten.open("wb") as sink:
        kept = [tensor for tensor in model.graph.initializer if tensor.name not in replaced]
        for tensor in kept:
            _copy(tensor, source, sink)
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
        yield lambda name, array: model.graph.initializer.append(_store(name, array, sink))
    onnx.save(model, directory / graph.FILE_NAME)
    rewritten.replace(data)


def _store(name: str, array: npt.NDArray[Any], sink: BinaryIO) -> onnx.TensorProto:
    """A new tensor: from a page on in the file of weights, else in the graph itself."""
    if array.nbytes < _PAGE:
        return numpy_helper.from_array(array, name)
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = onnx.TensorProto(name=name, data_type=kind, dims=array.shape)
    _refer(tensor, sink, array.nbytes)
    sink.write(np.ascontiguousarray(array).data)
    return tensor


def _refer(tensor: onnx.TensorProto, sink: BinaryIO, length: int) -> None:
    """Let `tensor` refer to the next `length` bytes of the file of weights, aligned to a page."""
    sink.write(bytes(-sink.tell() % _PAGE))
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", graph.DATA_NAME), ("offset", sink.tell()), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


def _copy(tensor: onnx.TensorProto, source: BinaryIO, sink: BinaryIO) -> None:
    """Copy the data of `tensor`, if it is in a file, and let the tensor refer to the copy."""
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return
    info = ExternalDataInfo(tensor)
    source.seek(info.offset or 0)
    left = info.length or 0
    _refer(tensor, sink, left)
    while left:
        left -= sink.write(source.read(min(left, _COPY_BYTES)))
