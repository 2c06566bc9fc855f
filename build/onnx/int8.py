"""int8 for CPUs by our own quantiser: integer products of weights and activations; called by `engine`.

Starts from the int8 graph that ONNX Runtime GenAI's builder writes (MatMulNBits: int8 weights, one scale for
each 32) and replaces the projections. Two kinds stay as they are: the lm_head, which decides between tokens,
and the down projections of the outermost layers and of those with massive activations, which take the
precision of all others in a row. What that costs and brings is in docs/design.md.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from build import progress
from build.checkpoint.checkpoint import Checkpoint
from build.onnx import graph, matrices

# SmoothQuant's migration strength. 0.5, its authors' choice, lost 0.9 % of perplexity on the sample where
# 0.6 lost 0.2 %.
SMOOTHING = 0.6
# The same in front of down projections, where stronger smoothing lost more.
_DOWN_SMOOTHING = 0.5
# How many times the median of all an activation is that counts as massive. A thousand in the paper that
# named them (Sun et al. 2024, arXiv 2402.17762), where the outermost layers have some too.
_MASSIVE = 500
# What the manifest says was done.
METHOD = (
    f"integer products per row, smoothing {SMOOTHING}, {_DOWN_SMOOTHING} in down projections; "
    "8 bits in blocks in the lm_head and in down projections of outer layers and massive activations"
)

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Activations:
    """What was seen of activations: the largest absolute value of each channel, and the median of all."""

    peaks: FloatArray
    median: float

    @classmethod
    def of(cls, values: FloatArray) -> "Activations":
        """values: float32 [tokens, channels]."""
        absolute = np.abs(values)
        return cls(absolute.max(axis=0), float(np.median(absolute)))

    @property
    def massive(self) -> bool:
        """Whether a few are so large that a row scaled by them keeps little of the others."""
        return bool(self.peaks.max() > _MASSIVE * self.median)


def quantise(directory: Path, checkpoint: Checkpoint) -> None:
    """Rewrite `directory`/model.onnx and its weights; holds one group's weights in memory at a time."""
    model = onnx.load(directory / graph.FILE_NAME, load_external_data=False)
    groups = matrices.groups(model)
    seen = matrices.watch(directory, model, [group.source for group in groups], checkpoint, Activations.of)
    outer = graph.outer_layers(checkpoint.architecture)
    projected = {node.output[0] for group in groups for node in group.nodes}

    def in_blocks(down: matrices.Group) -> bool:
        # Where a bias comes in between, nothing can be divided in the up projection.
        smoothable = not projected.isdisjoint(down.maker.input)
        return bool(outer.match(down.nodes[0].name)) or seen[down.source].massive or not smoothable

    groups = [group for group in groups if not (group.is_down and in_blocks(group))]
    downs = {
        group.source: smoothing(seen[group.source].peaks, _weights(group, checkpoint, {}), _DOWN_SMOOTHING)
        for group in groups
        if group.is_down
    }
    # Before a down projection the up projection's outputs are divided, which multiply what the gate lets by.
    divided = {name: downs[group.source] for group in groups if group.is_down for name in group.maker.input}
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    made: dict[str, list[onnx.NodeProto]] = {}
    data = directory / graph.DATA_NAME
    rewritten = data.with_suffix(".int8")
    replaced = {name for group in groups for node in group.nodes for name in node.input[1:]}
    replaced |= {name for group in groups if (name := _norm_weight(group.maker))}
    with rewritten.open("wb") as sink, progress.step("Quantising per row", len(groups)) as advance:
        kept = matrices.keep(model, replaced, data, sink)
        for group in groups:
            weights = _weights(group, checkpoint, divided)
            if norm := _norm_weight(group.maker):
                scales = smoothing(seen[group.source].peaks, weights, SMOOTHING)
                smoothed = numpy_helper.to_array(tensors[norm], str(directory)) / scales
                kept.append(numpy_helper.from_array(smoothed, norm))
                weights = [weight * scales for weight in weights]
            elif group.is_down:
                weights = [weight * downs[group.source] for weight in weights]
            made[group.nodes[0].name] = activations(group.source)
            for node, weight in zip(group.nodes, weights, strict=True):
                quantised, scale = per_channel(weight)
                kept.append(matrices.store(weight_name(node), quantised.T, sink))
                kept.append(numpy_helper.from_array(scale, scale_name(node)))
                made.setdefault(node.name, []).extend(product(node, group.source))
            advance(1)
    kept += constants()
    nodes = [new for node in model.graph.node for new in made.get(node.name, [node])]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(kept)
    onnx.save(model, directory / graph.FILE_NAME)
    rewritten.replace(data)


def _weights(
    group: matrices.Group, checkpoint: Checkpoint, divided: dict[str, FloatArray]
) -> list[FloatArray]:
    """The matrices of a group, float32 [out, in]; divided: what the outputs of that name are divided by."""
    return [
        matrices.weight(node, checkpoint) / divided.get(node.output[0], np.ones(1, np.float32))[:, None]
        for node in group.nodes
    ]


def smoothing(peaks: FloatArray, weights: list[FloatArray], strength: float) -> FloatArray:
    """What to divide each channel of the activations by, and multiply its weights with, float32 [in].

    peaks: largest absolute activation of each channel. weights: the matrices that read them, [out, in].
    strength: how much is taken from the activations, 0 to 1. Outliers go from the activations to the weights,
    where a channel's scale does not harm the others (SmoothQuant, arXiv 2211.10438, equation 4), about a
    geometric mean of 1.
    """
    widest = np.max([np.abs(weight).max(axis=0) for weight in weights], axis=0)
    logs = strength * _log(peaks) - (1 - strength) * _log(widest)
    scales: FloatArray = np.exp(logs - logs.mean()).astype(np.float32)
    return scales


def per_channel(weight: FloatArray) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """A matrix [out, in] as int8 in -127..127, and the scale of each output, float32 [out]."""
    scale = np.maximum(np.abs(weight).max(axis=1), np.finfo(np.float32).tiny) / np.float32(127)
    return np.rint(weight / scale[:, None]).astype(np.int8), scale


def _log(values: FloatArray) -> FloatArray:
    """Logarithms, of channels that are never used too."""
    return np.log(np.maximum(values, max(float(values.max()), 1e-30) * 1e-5))


def _norm_weight(maker: onnx.NodeProto) -> str | None:
    """The weight of a norm; None for what is none."""
    index = matrices.NORMS.get(maker.op_type)
    return None if index is None else str(maker.input[index])


def activations(source: str) -> list[onnx.NodeProto]:
    """Nodes that quantise activations to uint8 with zero point 128 and one scale for each row.

    A row is divided by its largest absolute value, so that a token's numbers do not depend on its
    neighbours; the scale 1/127 that is left is a constant.
    """
    peak, unit, quantised = (_of(source, name) for name in ("peak", "unit", "quantised"))
    return [
        helper.make_node("Abs", [source], [_of(source, "abs")], _of(source, "Abs")),
        helper.make_node(
            "ReduceMax",
            [_of(source, "abs"), "int8/last_axis"],
            [_of(source, "max")],
            _of(source, "ReduceMax"),
        ),
        helper.make_node("Max", [_of(source, "max"), "int8/tiny"], [peak], _of(source, "Max")),
        helper.make_node("Div", [source, peak], [unit], _of(source, "Div")),
        helper.make_node(
            "QuantizeLinear",
            [unit, "int8/step", "int8/zero_point"],
            [quantised],
            _of(source, "QuantizeLinear"),
        ),
    ]


def product(node: onnx.NodeProto, source: str) -> list[onnx.NodeProto]:
    """Nodes in the place of `node`: the integer product, times the scales of its outputs and of its rows."""
    integers = [_of(source, "quantised"), weight_name(node), "int8/step_of_rows", scale_name(node)]
    result = f"{node.output[0]}/int8"
    return [
        helper.make_node(
            graph.INTEGER_PRODUCT,
            [*integers, "int8/zero_point"],
            [result],
            node.name.removesuffix("_Q8") + "Integer",
            domain="com.microsoft",
        ),
        helper.make_node("Mul", [result, _of(source, "peak")], [node.output[0]], f"{node.name}/Mul"),
    ]


def constants() -> list[onnx.TensorProto]:
    """What the nodes of `activations` and `product` share."""
    step = np.float32(1) / np.float32(127)
    return [
        numpy_helper.from_array(np.array([-1]), "int8/last_axis"),
        numpy_helper.from_array(np.array(np.finfo(np.float32).tiny), "int8/tiny"),
        numpy_helper.from_array(np.array(step), "int8/step"),
        numpy_helper.from_array(np.array([step]), "int8/step_of_rows"),
        numpy_helper.from_array(np.array(128, np.uint8), "int8/zero_point"),
    ]


def _of(source: str, name: str) -> str:
    return f"{source}/int8/{name}"


def weight_name(node: onnx.NodeProto) -> str:
    """What the int8 matrix [in, out] of a projection is called."""
    return f"{node.name}/weight"


def scale_name(node: onnx.NodeProto) -> str:
    """What the scales [out] of a projection are called."""
    return f"{node.name}/scale"
