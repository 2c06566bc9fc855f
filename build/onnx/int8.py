"""int8 for CPUs: integer products of weights and activations.

It starts from the int8 graph of ONNX Runtime GenAI's builder (MatMulNBits: int8 weights, a scale for each 32)
and replaces the projections. Kept as they are: the lm_head, which decides between tokens, and down
projections of outer layers and of massive activations, where a row would lose its precision. Costs and gains
are in docs/design.md.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from build import progress
from build.checkpoint.checkpoint import Checkpoint
from build.onnx import graph, matrices
from build.rounding import FloatArray, per_channel, smoothing

# SmoothQuant's migration strength. 0.5, its authors' choice, lost 0.9 % of perplexity on the sample where
# 0.6 lost 0.2 %.
SMOOTHING = 0.6
# The same for down projections, where stronger smoothing lost more.
_DOWN_SMOOTHING = 0.5
# An activation is massive from this multiple of the median on. The paper that named them has 1,000 (Sun et
# al. 2024, arXiv 2402.17762), and finds some in the outermost layers too.
_MASSIVE = 500
# The method in the manifest.
METHOD = (
    f"integer products per row, smoothing {SMOOTHING}, {_DOWN_SMOOTHING} in down projections; "
    "8 bits in blocks in the lm_head and in down projections of outer layers and massive activations"
)


@dataclass(frozen=True, slots=True)
class Activations:
    """Statistics of activations. peaks: largest absolute value of each channel. median: of all of them."""

    peaks: FloatArray
    median: float

    @classmethod
    def of(cls, values: FloatArray) -> "Activations":
        """values: float32 [tokens, channels]."""
        absolute = np.abs(values)
        return cls(absolute.max(axis=0), float(np.median(absolute)))

    @property
    def massive(self) -> bool:
        """Whether a few are so large that a row scaled by them leaves little precision to the others."""
        return bool(self.peaks.max() > _MASSIVE * self.median)


def quantize(directory: Path, checkpoint: Checkpoint) -> None:
    """Rewrite `directory`/model.onnx and its weights, one group of matrices in memory at a time."""
    model = onnx.load(directory / graph.FILE_NAME, load_external_data=False)
    groups = matrices.groups(model)
    seen = matrices.observe(directory, model, [group.source for group in groups], checkpoint, Activations.of)
    groups = _rewritten(groups, seen, checkpoint)
    down_scales = {
        group.source: smoothing(seen[group.source].peaks, _weights(group, checkpoint, {}), _DOWN_SMOOTHING)
        for group in groups
        if group.is_down
    }
    # The input of a down projection is a product with the up projection, whose outputs are divided instead.
    divisors = {
        name: down_scales[group.source] for group in groups if group.is_down for name in group.maker.input
    }
    norms = {tensor.name: tensor for tensor in model.graph.initializer}
    replaced = {name for group in groups for node in group.nodes for name in node.input[1:]}
    replaced |= {name for group in groups if (name := _norm_weight(group.maker))}
    nodes: dict[str, list[onnx.NodeProto]] = {}
    with (
        matrices.rewrite(directory, model, replaced) as add,
        progress.step("Quantizing per row", len(groups)) as advance,
    ):
        for group in groups:
            weights = _weights(group, checkpoint, divisors)
            if norm := _norm_weight(group.maker):
                scales = smoothing(seen[group.source].peaks, weights, SMOOTHING)
                add(norm, numpy_helper.to_array(norms[norm], str(directory)) / scales)
                weights = [weight * scales for weight in weights]
            elif group.is_down:
                weights = [weight * down_scales[group.source] for weight in weights]
            nodes[group.nodes[0].name] = activations(group.source)
            for node, weight in zip(group.nodes, weights, strict=True):
                quantized, scale = per_channel(weight)
                add(weight_name(node), quantized.T)
                add(scale_name(node), scale)
                nodes.setdefault(node.name, []).extend(product(node, group.source))
            advance(1)
        model.graph.initializer.extend(constants())
        rewritten = [new for node in model.graph.node for new in nodes.get(node.name, [node])]
        del model.graph.node[:]
        model.graph.node.extend(rewritten)


def _rewritten(
    groups: list[matrices.Group], seen: dict[str, Activations], checkpoint: Checkpoint
) -> list[matrices.Group]:
    """All groups but the down projections that keep 8 bits in blocks."""
    outer = graph.outer_layers(checkpoint.architecture)
    outputs = {node.output[0] for group in groups for node in group.nodes}

    def kept(down: matrices.Group) -> bool:
        # With a bias in between, the outputs of the up projection cannot be divided.
        smoothable = not outputs.isdisjoint(down.maker.input)
        return bool(outer.match(down.nodes[0].name)) or seen[down.source].massive or not smoothable

    return [group for group in groups if not (group.is_down and kept(group))]


def _weights(
    group: matrices.Group, checkpoint: Checkpoint, divisors: dict[str, FloatArray]
) -> list[FloatArray]:
    """The matrices of a group, float32 [out, in]; divisors: of the outputs of a node, by their name."""
    one = np.ones(1, np.float32)
    return [
        matrices.weight(node, checkpoint) / divisors.get(node.output[0], one)[:, None] for node in group.nodes
    ]


def _norm_weight(maker: onnx.NodeProto) -> str | None:
    """The name of a norm's weight; None for another node."""
    index = matrices.NORMS.get(maker.op_type)
    return None if index is None else str(maker.input[index])


def activations(source: str) -> list[onnx.NodeProto]:
    """Nodes that quantize activations to uint8 with zero point 128 and one scale for each row.

    Each row is divided by its largest absolute value, so a token's numbers do not depend on its neighbours.
    The remaining scale, 1/127, is a constant.
    """
    peak, unit, quantized = (_of(source, name) for name in ("peak", "unit", "quantized"))
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
            [quantized],
            _of(source, "QuantizeLinear"),
        ),
    ]


def product(node: onnx.NodeProto, source: str) -> list[onnx.NodeProto]:
    """Nodes that replace `node`: the integer product, times the scales of its outputs and of its rows."""
    integers = [_of(source, "quantized"), weight_name(node), "int8/step_of_rows", scale_name(node)]
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
    """The constants that the nodes of `activations` and `product` share."""
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
    """Name of the int8 matrix [in, out] of a projection."""
    return f"{node.name}/weight"


def scale_name(node: onnx.NodeProto) -> str:
    """Name of the scales [out] of a projection."""
    return f"{node.name}/scale"
