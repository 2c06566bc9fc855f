"""From a checkpoint to model.xml and model.bin, in pieces of 1 MiB or a row."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from build import progress
from build.checkpoint.checkpoint import Checkpoint
from build.openvino import parts, smoothing
from build.openvino.graph import Graph, decoder
from build.openvino.layouts import BLOCK, InBlocks, Layout, PerOutput, Plain
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
}


def write(directory: Path, checkpoint: Checkpoint, quantization: Quantization) -> None:
    """Write the model of a checkpoint whose numbers are finite."""
    model = checkpoint.architecture

    def layout_of(kind: Kind, shape: tuple[int, int]) -> Layout:
        return layout(quantization, kind, shape)

    scales = {} if quantization == "none" else smoothing.scales(checkpoint)
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
                advance(sum(checkpoint.weights.tensors[name].size for name in part.sources))
                continue
            row = 0
            for source in part.sources:
                for first, piece in checkpoint.weights.pieces(source):
                    rows = _scaled(piece.astype(np.float32), part, scales)
                    for suffix, stored in layout_of(part.kind, part.shape).stored(rows).items():
                        file.write(part.name + suffix, row + first, stored)
                    advance(piece.nbytes)
                row += checkpoint.weights.tensors[source].shape[0]


def layout(quantization: Quantization, kind: Kind, shape: tuple[int, int]) -> Layout:
    """How an engine of this quantization stores a matrix.

    Inputs of the down projections reach 1,000 times the others, so they get a scale for each block of weights
    where the rows divide into blocks.
    """
    if quantization == "none":
        return Plain()
    return InBlocks() if kind == "down" and shape[1] % BLOCK == 0 else PerOutput()


def _scaled(rows: FloatArray, matrix: Matrix, scales: Mapping[str, FloatArray]) -> FloatArray:
    """Rows of a matrix, each input times what its norm is divided by."""
    return rows * scales.get(matrix.norm or "", np.float32(1))
