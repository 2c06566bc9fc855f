"""int4 for CPUs by our own quantiser: scales that err least where the activations are; called by `engine`.

Starts from the int8 graph that ONNX Runtime GenAI's builder writes and gives 4 bits to the projections that
read a norm or the attention. The down projections, the lm_head and the outermost layers keep 8 bits: they
lose most with 4 and are hardly slower with 8. A tied embedding becomes the table of the lm_head, once on
disk. What was tried besides is in docs/design.md.
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

# What the manifest says was done.
METHOD = (
    "4 bits, scales searched on calibration activations; 8 bits in down projections, lm_head and outer layers"
)
# Scales tried, as parts of the one that lets the largest weight of a block just fit.
_STRETCHES = np.linspace(0.75, 1.2, 14, dtype=np.float32)
_LEVELS = 8  # below zero, and one less above
_AT_ONCE = 1 << 16  # weights; what is computed on them stays in the cache of a core
_TINY = np.float32(1e-12)  # the scale of a block of zeros
_LEAST = np.float32(1e-6)  # what a channel counts beside the one in its block that counts most
_EMBEDDING = "model.embed_tokens.weight"
_LM_HEAD = "/lm_head/MatMul"

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]


def quantise(directory: Path, checkpoint: Checkpoint) -> None:
    """Rewrite `directory`/model.onnx and its weights; holds one matrix in memory at a time."""
    model = onnx.load(directory / graph.FILE_NAME, load_external_data=False)
    architecture = checkpoint.architecture
    outer = graph.outer_layers(architecture)
    groups = [
        group for group in matrices.groups(model) if not (group.is_down or outer.match(group.nodes[0].name))
    ]
    sources = [group.source for group in groups]
    power = matrices.watch(
        directory, model, sources, checkpoint, lambda values: np.square(values).mean(axis=0)
    )
    nodes = [node for group in groups for node in group.nodes]
    replaced = {name for node in nodes for name in node.input[1:3]}
    # The rows of the lm_head are filled up to whole blocks, which an embedding's must not be.
    shared = architecture.tied and architecture.hidden_size % BLOCK_SIZE == 0
    if shared:
        replaced.add(_EMBEDDING)
    data = directory / graph.DATA_NAME
    rewritten = data.with_suffix(".int4")
    with rewritten.open("wb") as sink, progress.step("Searching scales for 4 bits", len(nodes)) as advance:
        kept = matrices.keep(model, replaced, data, sink)
        for node in nodes:
            weight = matrices.weight(node, checkpoint)
            quantised, scale = blocks(weight, power[node.input[0]])
            node.name = node.name.removesuffix("_Q8") + "_Q4"
            node.input[1], node.input[2] = f"{node.name}/weight", f"{node.name}/scale"
            next(attribute for attribute in node.attribute if attribute.name == "bits").i = 4
            kept.append(matrices.store(node.input[1], packed(quantised), sink))
            kept.append(matrices.store(node.input[2], scale, sink))
            advance(1)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    if shared:
        _share_embedding(model)
    onnx.save(model, directory / graph.FILE_NAME)
    rewritten.replace(data)


def blocks(weight: FloatArray, power: FloatArray) -> tuple[ByteArray, FloatArray]:
    """A matrix [out, in] as 0..15 about 8, uint8 [out, blocks, 32], and scales, float32 [out, blocks].

    power: mean square of each channel of the activations, float32 [in]. Of the scales tried for a block, and
    for each the one that fits its integers best (least squares), the one is taken that moves the outputs
    least: weight errors count by the power of their channel, as in llama.cpp's importance matrices
    (tools/imatrix). The last block is filled with zeros.
    """
    missing = -weight.shape[1] % BLOCK_SIZE
    padded = np.pad(weight, ((0, 0), (0, missing))).reshape(len(weight), -1, BLOCK_SIZE)
    counts = np.pad(power, (0, missing)).reshape(-1, BLOCK_SIZE)
    counts = np.maximum(counts / np.maximum(counts.max(axis=-1, keepdims=True), _TINY), _LEAST)
    quantised = np.empty(padded.shape, np.uint8)
    scales = np.empty(padded.shape[:2], np.float32)
    rows = max(1, _AT_ONCE // padded[0].size)

    def search(start: int) -> None:
        piece = slice(start, start + rows)
        integers, scales[piece] = _search(padded[piece], counts)
        quantised[piece] = integers + _LEVELS

    with ThreadPoolExecutor() as threads:
        list(threads.map(search, range(0, len(weight), rows)))
    return quantised, scales


def _search(weight: FloatArray, counts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Integers -8..7 of blocks [out, blocks, 32] and the scales [out, blocks] that err least."""
    largest = np.take_along_axis(weight, np.abs(weight).argmax(axis=-1, keepdims=True), axis=-1)
    fitting = np.where(largest == 0, _TINY, largest / -_LEVELS)  # the largest becomes -8, so it has its sign
    counted = weight * counts
    best = np.zeros_like(weight)
    scales = fitting[..., 0].copy()
    gains = np.zeros_like(scales)
    for stretch in _STRETCHES:
        integers = np.clip(np.rint(weight / (fitting * stretch)), -_LEVELS, _LEVELS - 1)
        agreement = (integers * counted).sum(axis=-1)
        size = np.maximum((np.square(integers) * counts).sum(axis=-1), _TINY)
        gain = agreement**2 / size  # how much of the weights' own power the fitted block explains
        better = gain > gains
        best[better] = integers[better]
        scales[better] = (agreement / size)[better]
        gains[better] = gain[better]
    return best, scales


def packed(quantised: ByteArray) -> ByteArray:
    """Two numbers to a byte, the first in its low half: MatMulNBits' layout (docs/ContribOperators.md)."""
    pairs: ByteArray = quantised[..., 0::2] | quantised[..., 1::2] << 4
    return pairs


def _share_embedding(model: onnx.ModelProto) -> None:
    """Let the embedding look its rows up in the 8-bit weights of the lm_head, which they are when tied."""
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
