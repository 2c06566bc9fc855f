"""Which matrices of a model go to 4 bits: those that cost least, up to a loss that is measured.

The calibration text goes through the layers in fp32, and each matrix is rounded on the way. A unit is the
matrices of one kind in a band of neighbouring layers. For each unit, a text that the rounding has not seen
goes through a model in which only this unit has 4 bits. How far that moves the predictions is the unit's
loss, and losses of units nearly add up.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from build import progress
from build.checkout import CHECKOUT
from build.checkpoint.checkpoint import Checkpoint
from build.openvino import gptq, parts
from build.openvino.divergence import divergences
from build.openvino.gptq import GROUP, Rounded
from build.openvino.parts import Kind
from build.openvino.reading import LayerWeights, Reader, embedded, read
from slipway.text.tokenizer import Tokenizer

FloatArray = npt.NDArray[np.float32]

# What the units in 4 bits may lose together, in nats. On the sample, texts unlike the calibration text lose
# up to 2.4 times as much, and 8 bits elsewhere 1 %; together that is 3 % of perplexity.
MAX_LOSS = 0.01
_BANDS = 6
_TEXT = CHECKOUT / "build" / "openvino" / "calibration.txt"
_TEXTS, _TEXT_TOKENS = 12, 512  # at most
_HELD_OUT = 1  # texts that measure losses; the others guide the rounding


@dataclass(frozen=True, slots=True)
class Unit:
    """Matrices that get 4 bits together. loss: what that costs, in nats. weights: their number."""

    kind: Kind
    layers: range
    loss: float
    weights: int


def within(units: Iterable[Unit], max_loss: float) -> list[Unit]:
    """The units to take: those that lose least for each weight, as long as all together keep to max_loss."""
    taken, spent = [], 0.0
    for unit in sorted(units, key=lambda unit: unit.loss / unit.weights):
        if spent + unit.loss <= max_loss:
            taken.append(unit)
            spent += unit.loss
    return taken


def units(checkpoint: Checkpoint, keep: Callable[[str, Rounded], None]) -> list[Unit]:
    """Every unit that can have 4 bits, with its loss.

    keep: called with the name of each of their matrices and the matrix rounded.
    """
    model = checkpoint.architecture
    texts = _texts(checkpoint)
    reader, x = Reader(model, texts.shape[1]), embedded(checkpoint, texts)
    changed: dict[tuple[Kind, int], FloatArray] = {}
    weights: dict[tuple[Kind, int], int] = {}
    with progress.step("Rounding to 4 bits", model.layers) as advance:
        for index in range(model.layers):
            band = index * _BANDS // model.layers
            layer, before = LayerWeights.read(checkpoint, index), x
            x, rounded = _rounded_layer(reader, layer, x)
            for matrix in parts.layer(model, index).matrices:
                if matrix.kind in rounded:
                    unit = matrix.kind, band
                    keep(matrix.name, rounded[matrix.kind])
                    changed.setdefault(unit, before[-_HELD_OUT:])
                    weights[unit] = weights.get(unit, 0) + layer.matrices[matrix.kind].size
            restored = {kind: each.restored() for kind, each in rounded.items()}
            for (kind, its_band), held_out in changed.items():
                instead = {kind: restored[kind]} if its_band == band else {}
                changed[kind, its_band] = _changed_layer(reader, layer, held_out, instead)
            advance(1)
    final = read(checkpoint, parts.final_norm(model))
    hidden = [
        reader.norm(each, final).reshape(-1, model.hidden_size)
        for each in (x[-_HELD_OUT:], *changed.values())
    ]
    losses = divergences(checkpoint, hidden[0], np.stack(hidden[1:])) if changed else ()
    return [
        Unit(kind, _layers(band, model.layers), float(loss), weights[kind, band])
        for (kind, band), loss in zip(changed, losses, strict=True)
    ]


def _rounded_layer(
    reader: Reader, layer: LayerWeights, x: FloatArray
) -> tuple[FloatArray, dict[Kind, Rounded]]:
    """What comes after the layer, and its matrices rounded on the inputs of texts that are not held out."""
    rounded = {}

    def product(kind: Kind, inputs: FloatArray) -> FloatArray:
        if inputs.shape[-1] % GROUP == 0:
            seen = inputs[:-_HELD_OUT].reshape(-1, inputs.shape[-1])
            rounded[kind] = gptq.round_matrix(layer.matrices[kind], seen.T @ seen)
        return layer.product(kind, inputs)

    return reader.layer(x, layer.norms, product), rounded


def _changed_layer(
    reader: Reader, layer: LayerWeights, x: FloatArray, instead: Mapping[Kind, FloatArray]
) -> FloatArray:
    """What comes after the layer with other matrices."""

    def product(kind: Kind, inputs: FloatArray) -> FloatArray:
        if kind in instead:
            return layer.biased(kind, inputs @ instead[kind].T)
        return layer.product(kind, inputs)

    return reader.layer(x, layer.norms, product)


def _layers(band: int, layers: int) -> range:
    first, end = (-(-each * layers // _BANDS) for each in (band, band + 1))
    return range(first, end)


def _texts(checkpoint: Checkpoint) -> npt.NDArray[np.int64]:
    """Token ids of the calibration text, in texts of one length."""
    ids = Tokenizer.load(checkpoint.directory).encode(_TEXT.read_text(encoding="utf-8"))
    length = min(_TEXT_TOKENS, checkpoint.architecture.context, len(ids) // (_HELD_OUT + 1))
    count = min(_TEXTS, len(ids) // length)
    return np.array(ids[: count * length]).reshape(count, length)
