"""The ONNX graph of an engine, checked against the recipe and the checkpoint.

ONNX Runtime GenAI's builder silently drops options and rope scalings that it does not know, so everything it
wrote is checked.
"""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from build.checkpoint.architecture import Architecture
from slipway.contract.errors import BuildError

FILE_NAME = "model.onnx"
DATA_NAME = "model.onnx.data"
# int8 weights with one scale per output, uint8 activations (onnxruntime, docs/ContribOperators.md).
INTEGER_PRODUCT = "MatMulIntegerToFloat"
# The projections that `int8` and `int4` rewrite.
_REWRITTEN = re.compile(r"/(qkv|q|k|v|o|gate|up)_proj/")
_TABLES = ("cos_cache", "sin_cache")
# In single precision, tables of these positions agree to the tolerance; a wrong base or scaling is far off.
_POSITIONS = 4096
_TOLERANCE = 5e-3


def write_rotary_tables(directory: Path, architecture: Architecture) -> None:
    """Replace the cosines and sines in the graph by those of the architecture's rope, in the same length.

    Needed for Llama with `linear` scaling (deepseek-coder): the builder's LlamaModel knows only `llama3`
    scaling (onnxruntime_genai 0.18.0, models/builders/llama.py, make_rope_init).
    """
    model = onnx.load(directory / FILE_NAME, load_external_data=False)
    for name, index in zip(_TABLES, (0, 1), strict=True):
        tensor = _initializer(model, name)
        table = architecture.rope.tables(tensor.dims[0], architecture.head_dim)[index]
        as_built = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        tensor.CopyFrom(numpy_helper.from_array(table.astype(as_built), name))
    onnx.save(model, directory / FILE_NAME)


def add_optional_input(
    model: onnx.ModelProto, name: str, default: NDArray[np.generic], shape: Sequence[str]
) -> None:
    """Add an input that need not be given. shape: the names of its dimensions."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(default.dtype)
    model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, shape))
    model.graph.initializer.append(numpy_helper.from_array(default, name))


def outer_layers(architecture: Architecture) -> re.Pattern[str]:
    """Matches the start of the names of nodes in the outer layers, which int4 leaves in 8 bits."""
    outer = architecture.outer_layers
    layers = [*range(outer), *range(architecture.layers - outer, architecture.layers)]
    return re.compile(f"/model/layers\\.({'|'.join(map(str, layers)) or 'none'})/")


def check(
    directory: Path, architecture: Architecture, bits: int, kept_bits: int, block_size: int, accuracy: int
) -> None:
    """Check the matrices, the attention and the rotary tables of `directory`/model.onnx.

    bits: of the projections that `int8` or `int4` rewrites; with 8 they are integer products.
    kept_bits: of all other matrices, as the builder quantized them. block_size, accuracy: of every matrix in
    blocks. Raises BuildError that names the node and its wrong value.
    """
    model = onnx.load(directory / FILE_NAME, load_external_data=False)
    _check_quantization(model.graph, architecture, bits, kept_bits, block_size, accuracy)
    _check_attention(model.graph.node, architecture)
    _check_rotary_tables(model, directory, architecture)


def _check_quantization(
    graph: onnx.GraphProto,
    architecture: Architecture,
    bits: int,
    kept_bits: int,
    block_size: int,
    accuracy: int,
) -> None:
    integers = {t.name: math.prod(t.dims) for t in graph.initializer if t.data_type == onnx.TensorProto.INT8}
    outer = outer_layers(architecture)
    quantized = 0
    for node in graph.node:
        if node.op_type == "MatMulNBits":
            rewritten = _REWRITTEN.search(node.name) and not (bits == 4 and outer.match(node.name))
            own = bits if rewritten else kept_bits
            _expect(node, {"bits": own, "block_size": block_size, "accuracy_level": accuracy})
            if bits == 8 and rewritten:
                raise BuildError(
                    f"{node.name} of the built graph was not rewritten, because int8 does not know this "
                    "name: install the onnxruntime-genai in requirements."
                )
            quantized += _attribute(node, "K") * _attribute(node, "N")
        elif node.op_type == INTEGER_PRODUCT and bits == 8:
            quantized += integers.get(node.input[1], 0)
        elif node.op_type == "GatherBlockQuantized":
            _expect(node, {"bits": kept_bits, "block_size": block_size})
    if quantized != architecture.projection_weights:
        raise BuildError(
            f"The builder quantized {quantized} of {architecture.projection_weights} weights; this version "
            "of onnxruntime-genai does not build what the recipe asks for: install the one in requirements."
        )


def _check_attention(nodes: Iterable[onnx.NodeProto], architecture: Architecture) -> None:
    attention = [node for node in nodes if node.op_type == "GroupQueryAttention"]
    for node in attention:
        _expect(node, {"num_heads": architecture.heads, "kv_num_heads": architecture.kv_heads})
    if len(attention) != architecture.layers:
        raise BuildError(
            f"The builder wrote {len(attention)} GroupQueryAttention nodes for {architecture.layers} layers; "
            "the runtime cannot serve this graph: install the onnxruntime-genai in requirements."
        )


def _check_rotary_tables(model: onnx.ModelProto, directory: Path, architecture: Architecture) -> None:
    tensors = [_initializer(model, name) for name in _TABLES]
    positions = min(_POSITIONS, tensors[0].dims[0])
    expected = architecture.rope.tables(positions, architecture.head_dim)
    for tensor, table in zip(tensors, expected, strict=True):
        built = numpy_helper.to_array(tensor, str(directory))[:positions]
        if built.shape != table.shape or not np.allclose(built, table, atol=_TOLERANCE):
            raise BuildError(
                f"{tensor.name} of the built graph does not fit the checkpoint's rope ({architecture.rope}); "
                "this version of onnxruntime-genai does not know it: install the one in requirements."
            )


def _expect(node: onnx.NodeProto, expected: dict[str, int]) -> None:
    for name, value in expected.items():
        built = _attribute(node, name)
        if built != value:
            raise BuildError(
                f"{node.name} of the built graph has {name} {built} instead of {value}: the builder dropped "
                "the option; install the onnxruntime-genai in requirements."
            )


def _attribute(node: onnx.NodeProto, name: str) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), 0)


def _initializer(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    tensor: onnx.TensorProto
    for tensor in model.graph.initializer:
        if tensor.name == name:
            return tensor
    raise BuildError(
        f"The built graph has no {name}; the runtime cannot serve it: install the onnxruntime-genai in "
        "requirements."
    )
