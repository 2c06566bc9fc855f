"""int4 for CPUs: scales are searched so that the error of the outputs is smallest.

It starts from the int8 graph of ONNX Runtime GenAI's builder. The projections that read a norm or the
attention get 4 bits. Down projections, lm_head and outermost layers keep 8: with 4 they lose most, and with 8
they are hardly slower. A tied embedding uses the table of the lm_head, stored once. Other ways that were
tried are in docs/design.md.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from build import progress
from build.checkpoint.checkpoint import Checkpoint
from build.onnx import graph, matrices
from build.onnx.builder import BLOCK_SIZE
from build.scales import search

# The method in the manifest.
METHOD = (
    "4 bits, scales searched on calibration activations; 8 bits in down projections, lm_head and outer layers"
)
# Scales that are tried, relative to the scale with which the largest weight of a block just fits.
_STRETCHES = np.linspace(0.75, 1.2, 14, dtype=np.float32)
_MIDDLE = 8  # the code of zero: as many levels are below it, and one less above
_CHUNK_WEIGHTS = 1 << 16  # weights searched at a time, so that they stay in the cache of a core
_TINY = np.float32(1e-12)  # the scale of a block of zeros
_MIN_IMPORTANCE = np.float32(1e-6)  # of a channel, relative to the most important one of its block
_EMBEDDING = "model.embed_tokens.weight"
_LM_HEAD = "/lm_head/MatMul"

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]


def quantize(directory: Path, checkpoint: Checkpoint) -> None:
    """Rewrite `directory`/model.onnx and its weights, one matrix in memory at a time."""
    model = onnx.load(directory / graph.FILE_NAME, load_external_data=False)
    architecture = checkpoint.architecture
    outer = graph.outer_layers(architecture)
    groups = [
        group for group in matrices.groups(model) if not (group.is_down or outer.match(group.nodes[0].name))
    ]
    sources = [group.source for group in groups]
    power = matrices.observe(
        directory, model, sources, checkpoint, lambda values: np.square(values).mean(axis=0)
    )
    nodes = [node for group in groups for node in group.nodes]
    replaced = {name for node in nodes for name in node.input[1:3]}
    # Rows of the lm_head are padded to whole blocks; those of an embedding must not be.
    shared = architecture.tied and architecture.hidden_size % BLOCK_SIZE == 0
    if shared:
        replaced.add(_EMBEDDING)
    with (
        matrices.rewrite(directory, model, replaced) as add,
        progress.step("Searching scales for 4 bits", len(nodes)) as advance,
    ):
        for node in nodes:
            weight = matrices.weight(node, checkpoint)
            quantized, scale = blocks(weight, power[node.input[0]])
            node.name = node.name.removesuffix("_Q8") + "_Q4"
            node.input[1], node.input[2] = f"{node.name}/weight", f"{node.name}/scale"
            next(attribute for attribute in node.attribute if attribute.name == "bits").i = 4
            add(node.input[1], pack(quantized))
            add(node.input[2], scale)
            advance(1)
        if shared:
            _share_embedding(model)


def blocks(weight: FloatArray, power: FloatArray) -> tuple[ByteArray, FloatArray]:
    """Quantize a matrix [out, in]: uint8 [out, blocks, 32], 0..15 about 8, and scales, float32 [out, blocks].

    power: mean square of each channel of the activations, float32 [in]. Several scales are tried for each
    block and refined by least squares; the one that changes the outputs least is used. The error of a weight
    counts by the power of its channel, as in llama.cpp's importance matrices (tools/imatrix). The last block
    is padded with zeros.
    """
    missing = -weight.shape[1] % BLOCK_SIZE
    padded = np.pad(weight, ((0, 0), (0, missing))).reshape(len(weight), -1, BLOCK_SIZE)
    importance = np.pad(power, (0, missing)).reshape(-1, BLOCK_SIZE)
    largest = np.maximum(importance.max(axis=-1, keepdims=True), _TINY)
    importance = np.maximum(importance / largest, _MIN_IMPORTANCE)
    quantized = np.empty(padded.shape, np.uint8)
    scales = np.empty(padded.shape[:2], np.float32)
    rows = max(1, _CHUNK_WEIGHTS // padded[0].size)

    def search(start: int) -> None:
        piece = slice(start, start + rows)
        integers, scales[piece] = _search(padded[piece], importance)
        quantized[piece] = integers + _MIDDLE

    with ThreadPoolExecutor() as threads:
        list(threads.map(search, range(0, len(weight), rows)))
    return quantized, scales


def _search(weight: FloatArray, importance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The integers -8..7 of blocks [out, blocks, 32] and the scales [out, blocks] with the least error."""
    largest = np.take_along_axis(weight, np.abs(weight).argmax(axis=-1, keepdims=True), axis=-1)[..., 0]
    fitting = np.where(largest == 0, _TINY, largest / -_MIDDLE)  # the largest becomes -8, so it has its sign
    middle = np.full_like(fitting, _MIDDLE)
    found = search(weight, importance, ((fitting * stretch, middle) for stretch in _STRETCHES))
    return found.steps, found.scales


def pack(quantized: ByteArray) -> ByteArray:
    """Two numbers per byte, the first in the low half: MatMulNBits' layout (docs/ContribOperators.md)."""
    return quantized[..., 0::2] | (quantized[..., 1::2] << np.uint8(4))


def _share_embedding(model: onnx.ModelProto) -> None:
    """Let a tied embedding look its rows up in the 8-bit weights of the lm_head."""
    head = next(node for node in model.graph.node if node.name.startswith(_LM_HEAD))
    lookup = next(node for node in model.graph.node if _EMBEDDING in node.input)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == head.input[1])
    table = onnx.TensorProto()
    table.CopyFrom(weight)  # the same bytes of the file, as rows
    table.name = "model.embed_tokens/rows"
    rows, width, size = weight.dims
    table.dims[:] = [rows, width * size]
    model.graph.initializer.append(table)
    lookup.CopyFrom(
        helper.make_node(
            "GatherBlockQuantized",
            [table.name, lookup.input[1], head.input[2]],
            list(lookup.output),
            lookup.name,
            domain="com.microsoft",
            bits=8,
            block_size=BLOCK_SIZE,
            gather_axis=0,
            quantize_axis=1,
        )
    )
