"""The decoder's graph in OpenVINO's operations, without its weights.

A weight is a Parameter with the weight's name; the file of the model turns it into a constant. The nodes
around the attention are those that OpenVINO's `paged_attention_transformation` looks for: a state, a gather
by `beam_idx`, a concatenation, and the attention (openvinotoolkit/openvino,
src/core/src/pass/sdpa_to_paged_attention.cpp).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import openvino as ov
from openvino import opset13 as op
from openvino.op import util

from build.checkpoint.architecture import Architecture
from build.openvino import parts
from build.openvino.layouts import Layout, Stored
from build.openvino.parts import Matrix, Vector

# The same name is in slipway/runtime/executors/openvino.py.
FINAL_NORM = "final_norm"
_LAST = 2**63 - 1
_HEADS_FIRST = np.array([0, 2, 1, 3], np.int32)


class Rotation(NamedTuple):
    """Cosines and sines of the positions, [batch, 1, tokens, head_dim]."""

    cosines: ov.Node
    sines: ov.Node


class Graph:
    """The nodes of one decoder. stored: the tensors of its weights so far, by name."""

    def __init__(self, model: Architecture, layout_of: Callable[[Matrix], Layout]) -> None:
        self.model = model
        self._layout_of = layout_of
        self.stored: dict[str, Stored] = {}
        self.weights: list[ov.Node] = []

    def layer(self, x: ov.Node, index: int, rotation: Rotation, cache: "Cache") -> ov.Node:
        """One layer over x, float32 [batch, tokens, hidden]."""
        model, weights = self.model, parts.layer(self.model, index)
        joined = self.product(self.norm(x, weights.first_norm), weights.qkv)
        query, key, value = self._heads(joined)
        query, key = (_rotated(each, rotation, model.head_dim) for each in (query, key))
        attended = op.transpose(cache.attend(query, key, value), _HEADS_FIRST)
        joined = op.reshape(attended, _i64(0, 0, model.heads * model.head_dim), True)
        x = op.add(x, self.product(joined, weights.output))
        second = self.norm(x, weights.second_norm)
        inner = _i64(model.intermediate_size, model.intermediate_size)
        gate, up = op.variadic_split(self.product(second, weights.gate_up), _scalar(2), inner).outputs()
        return op.add(x, self.product(op.multiply(op.swish(gate), up), weights.down))

    def product(self, x: ov.Node, matrix: Matrix) -> ov.Node:
        """The product of x [batch, tokens, in] and the matrix [out, in] transposed, with its bias."""
        return self._biased(op.matmul(x, self.matrix(matrix), False, True), matrix)

    def norm(self, x: ov.Node, weight: Vector) -> ov.Node:
        """RMSNorm over the last dimension."""
        mean = op.reduce_mean(op.power(x, np.float32(2)), _i64(-1), True)
        root = op.sqrt(op.add(mean, np.float32(self.model.norm_epsilon)))
        return op.multiply(op.multiply(x, op.divide(np.float32(1), root)), self._vector(weight))

    def matrix(self, matrix: Matrix) -> ov.Node:
        """The matrix as float32 [out, in]."""
        layout = self._layout_of(matrix)
        nodes = {
            suffix: self._weight(matrix.name + suffix, stored)
            for suffix, stored in layout.tensors(matrix.shape).items()
        }
        return layout.expand(nodes, matrix.shape)

    def rotation(self, positions: ov.Node, batch: ov.Node) -> Rotation:
        """The rotary embedding of positions, int64 [batch, tokens]."""
        frequencies = self.model.rope.frequencies(self.model.head_dim).astype(np.float32)[None, :, None]
        shape = op.concat([batch, _i64(1), _i64(1)], 0)
        wide = op.broadcast(op.constant(frequencies), shape, broadcast_spec="BIDIRECTIONAL")
        places = op.convert(op.unsqueeze(positions, _scalar(1)), "f32")
        angles = op.transpose(op.matmul(wide, places, False, False), np.array([0, 2, 1], np.int32))
        angles = op.concat([angles, angles], -1)
        return Rotation(op.unsqueeze(op.cos(angles), _scalar(1)), op.unsqueeze(op.sin(angles), _scalar(1)))

    def _heads(self, joined: ov.Node) -> list[ov.Node]:
        """Queries, keys and values, [batch, heads, tokens, head_dim] each, of one product."""
        model = self.model
        counts = (model.heads, model.kv_heads, model.kv_heads)
        split = op.variadic_split(joined, _scalar(2), _i64(*(count * model.head_dim for count in counts)))
        return [
            op.transpose(op.reshape(output, _i64(0, 0, count, model.head_dim), True), _HEADS_FIRST)
            for output, count in zip(split.outputs(), counts, strict=True)
        ]

    def _biased(self, x: ov.Node, matrix: Matrix) -> ov.Node:
        if matrix.bias is None:
            return x
        return op.add(x, self._vector(Vector(matrix.bias, (), matrix.shape[0])))

    def _vector(self, vector: Vector) -> ov.Node:
        return self._weight(vector.name, Stored(np.float32, (1, 1, vector.size)))

    def _weight(self, name: str, stored: Stored) -> ov.Node:
        node = _input(name, list(stored.shape), stored.element_type)
        self.stored[name] = stored
        self.weights.append(node)
        return node


class Cache:
    """Keys and values that the layers keep from pass to pass."""

    def __init__(self, model: Architecture, batch: ov.Node, beam: ov.Node, mask: ov.Node) -> None:
        self._model, self._batch, self._beam, self._mask = model, batch, beam, mask
        self.assigned: list[ov.Node] = []

    def attend(self, query: ov.Output, key: ov.Output, value: ov.Output) -> ov.Node:
        """Attention of one layer over what is kept and what is new."""
        keys, values = self._kept(key), self._kept(value)
        return op.scaled_dot_product_attention(query, keys, values, self._mask)

    def _kept(self, new: ov.Output) -> ov.Node:
        model = self._model
        info = util.VariableInfo()
        info.data_shape = ov.PartialShape([-1, model.kv_heads, -1, model.head_dim])
        info.data_type = ov.Type.f32
        info.variable_id = f"cache.{len(self.assigned)}"
        variable = util.Variable(info)
        empty = op.concat([self._batch, _i64(model.kv_heads), _i64(0), _i64(model.head_dim)], 0)
        past = op.read_value(op.broadcast(op.constant(np.float32(0)), empty), variable)
        whole = op.concat([op.gather(past, self._beam, _scalar(0)), new], 2)
        self.assigned.append(op.assign(whole, variable))
        if model.heads == model.kv_heads:
            return whole
        # Once for each head of the queries. A dimension of 1 takes that of the whole.
        shape = op.concat([self._batch, _i64(1, model.heads // model.kv_heads, 1, 1)], 0)
        wide = op.broadcast(op.unsqueeze(whole, _scalar(2)), shape, broadcast_spec="BIDIRECTIONAL")
        return op.reshape(wide, _i64(0, model.heads, -1, model.head_dim), True)


def decoder(graph: Graph) -> ov.Model:
    """The whole decoder, with one input for each weight."""
    model = graph.model
    ids = _input("input_ids", [-1, -1], ov.Type.i64)
    mask = _input("attention_mask", [-1, -1], ov.Type.i64)
    positions = _input("position_ids", [-1, -1], ov.Type.i64)
    beam = _input("beam_idx", [-1], ov.Type.i32)
    batch = op.gather(op.shape_of(ids), _i64(0), _scalar(0))
    table = graph.matrix(parts.embedding(model))
    x = op.gather(table, op.convert(ids, "i32"), op.constant(0, np.int32))
    rotation = graph.rotation(positions, batch)
    # Paged attention needs no mask, so the transformation drops this one.
    cache = Cache(model, batch, beam, op.unsqueeze(op.convert(mask, "f32"), _i64(1, 2)))
    for index in range(model.layers):
        x = graph.layer(x, index, rotation, cache)
    x = graph.norm(x, parts.final_norm(model))
    x.set_friendly_name(FINAL_NORM)
    head = parts.lm_head(model)
    result = op.result(op.matmul(x, graph.matrix(head) if head else table, False, True))
    result.output(0).get_tensor().set_names({"logits"})
    return ov.Model([result], cache.assigned, [ids, mask, positions, beam, *graph.weights], "decoder")


def _input(name: str, shape: list[int], kind: ov.Type) -> ov.Node:
    node = op.parameter(shape, kind, name=name)
    node.output(0).get_tensor().set_names({name})
    return node


def _rotated(x: ov.Node, rotation: Rotation, head_dim: int) -> ov.Node:
    """Each dimension of the first half of a head is turned with its partner in the second half."""
    half, axis = head_dim // 2, _i64(3)
    second = op.slice(x, _i64(half), _i64(_LAST), _i64(1), axis)
    first = op.slice(x, _i64(0), _i64(half), _i64(1), axis)
    minus = op.constant(np.full((1, 1, 1, 1), -1, np.float32))
    turned = op.concat([op.multiply(second, minus), first], -1)
    return op.add(op.multiply(x, rotation.cosines), op.multiply(turned, rotation.sines))


def _i64(*values: int) -> ov.Node:
    return op.constant(np.array(values, np.int64))


def _scalar(value: int) -> ov.Node:
    return op.constant(value, np.int64)
