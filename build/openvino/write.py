"""From a checkpoint to model.xml and model.bin, in pieces of 1 MiB or a row."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from build import progress
from build.checkpoint.checkpoint import Checkpoint
from build.openvino import gptq, parts, smoothing
from build.openvino.four_bits import FourBitMatrices
from build.openvino.graph import Graph, decoder
from build.openvino.layouts import BLOCK, FourBits, InBlocks, Layout, PerOutput, Plain, RowLayout
from build.openvino.model_file import ModelFile
from build.openvino.parts import Kind, Matrix, Vector
from build.openvino.reading import read
from build.rounding import FloatArray
from slipway.contract.quantization import Quantization

# The method in the manifest.
METHODS: dict[Quantization, str] = {
    "none": "the checkpoint's weights in fp32",
    "int8": f"8 bits per output, smoothing {smoothing.STRENGTH} into the norms; "
    f"down projections in blocks of {BLOCK}",
    "int4": f"4 bits in groups of {gptq.GROUP} (GPTQ) where a calibration text loses little; "
    "the rest as int8",
}


def write(directory: Path, checkpoint: Checkpoint, quantization: Quantization, work: Path) -> None:
    """Write the model of a checkpoint whose numbers are finite. work: a folder for intermediate files."""
    model = checkpoint.architecture
    four_bits = FourBitMatrices(checkpoint, work) if quantization == "int4" else {}

    def layout_of(matrix: Matrix) -> Layout:
        return FourBits() if matrix.name in four_bits else layout(quantization, matrix.kind, matrix.shape)

    scales = {} if quantization == "none" else smoothing.scales(checkpoint, without=four_bits)
    graph = Graph(model, layout_of)
    decoded = decoder(graph)
    with (
        ModelFile(directory, decoded, graph.stored) as file,
        progress.step("Writing the model", checkpoint.size, "bytes") as advance,
    ):
        for part in parts.everything(model):
            if isinstance(part, Vector):
                numbers = read(checkpoint, part) / scales.get(part.name, np.float32(1))
                file.write(part.name, 0, numbers[None, None])
            elif part.name in four_bits:
                for suffix, tensor in four_bits[part.name].items():
                    file.write(part.name + suffix, 0, tensor)
            else:
                rows_layout = layout(quantization, part.kind, part.shape)
                for row, rows in _pieces(checkpoint, part):
                    scaled = rows * scales.get(part.norm or "", np.float32(1))
                    for suffix, stored in rows_layout.stored(scaled).items():
                        file.write(part.name + suffix, row, stored)
            advance(sum(checkpoint.weights.tensors[name].size for name in part.sources))


def layout(quantization: Quantization, kind: Kind, shape: tuple[int, int]) -> RowLayout:
    """How an engine of this quantization stores a matrix that is not in 4 bits.

    Inputs of the down projections reach 1,000 times the others, so they get a scale for each block of weights
    where the rows divide into blocks.
    """
    if quantization == "none":
        return Plain()
    return InBlocks() if kind == "down" and shape[1] % BLOCK == 0 else PerOutput()


def _pieces(checkpoint: Checkpoint, matrix: Matrix) -> Iterator[tuple[int, FloatArray]]:
    """The matrix in pieces of whole rows, float32: (first row, piece)."""
    start = 0
    for name in matrix.sources:
        for first, piece in checkpoint.weights.pieces(name):
            yield start + first, piece.astype(np.float32)
        start += checkpoint.weights.tensors[name].shape[0]
