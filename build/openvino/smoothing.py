"""The scales that move outliers from a norm's outputs into the matrices that read them (SmoothQuant).

The calibration text goes through the model layer by layer, in fp32: one layer is in memory at a time.
"""

from collections.abc import Container

import numpy as np

from build import progress
from build.checkpoint.calibration_ids import calibration_ids
from build.checkpoint.checkpoint import Checkpoint
from build.openvino import parts
from build.openvino.parts import Kind
from build.openvino.reading import LayerWeights, Reader, embedded
from build.rounding import FloatArray, smoothing

# The migration strength. It is low, because activations are quantized in groups of 64, which hold outliers
# already: on the sample 0.3 lost 0.3 % of perplexity, none 0.6 % and 0.6 0.7 %.
STRENGTH = 0.3


def scales(checkpoint: Checkpoint, without: Container[str]) -> dict[str, FloatArray]:
    """By the name of each layer's norms: float32 [hidden], by which its outputs are divided.

    without: names of matrices whose norms stay as they are.
    """
    model, ids = checkpoint.architecture, calibration_ids(checkpoint)
    reader, x = Reader(model, len(ids)), embedded(checkpoint, np.array([ids]))
    found: dict[str, FloatArray] = {}
    with progress.step("Observing activations", model.layers) as advance:
        for index in range(model.layers):
            layer = _ObservedLayer(LayerWeights.read(checkpoint, index))
            x = reader.layer(x, layer.weights.norms, layer.product)
            for matrix in parts.layer(model, index).matrices:
                if matrix.norm is not None and matrix.name not in without:
                    numbers = layer.weights.matrices[matrix.kind]
                    found[matrix.norm] = smoothing(layer.peaks[matrix.kind], [numbers], STRENGTH)
            advance(1)
    return found


class _ObservedLayer:
    """A layer that keeps the largest absolute value of each channel that its matrices read, by their kind."""

    def __init__(self, weights: LayerWeights) -> None:
        self.weights = weights
        self.peaks: dict[Kind, FloatArray] = {}

    def product(self, kind: Kind, inputs: FloatArray) -> FloatArray:
        """The product with a matrix; inputs: float32 [..., channels]."""
        self.peaks[kind] = np.abs(inputs).reshape(-1, inputs.shape[-1]).max(axis=0)
        return self.weights.product(kind, inputs)
