"""Texts read by a checkpoint layer by layer, in fp32 and NumPy: one layer is in memory at a time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from build.checkpoint.architecture import EMBEDDING, Architecture
from build.checkpoint.checkpoint import Checkpoint
from build.openvino import parts
from build.openvino.parts import Kind, Matrix, Vector

FloatArray = npt.NDArray[np.float32]
# A product with one of a layer's matrices: its kind and its inputs [..., in] give its outputs [..., out].
Product = Callable[[Kind, FloatArray], FloatArray]


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """The weights of one layer. norms: before the attention and before the MLP. matrices: [out, in]."""

    norms: tuple[FloatArray, FloatArray]
    matrices: Mapping[Kind, FloatArray]
    biases: Mapping[Kind, FloatArray]

    @classmethod
    def read(cls, checkpoint: Checkpoint, index: int) -> Self:
        """Those of layer `index`, counted from 0."""
        layer = parts.layer(checkpoint.architecture, index)
        return cls(
            (read(checkpoint, layer.first_norm), read(checkpoint, layer.second_norm)),
            {matrix.kind: read(checkpoint, matrix) for matrix in layer.matrices},
            {
                matrix.kind: read(checkpoint, layer.biases[matrix.name])
                for matrix in layer.matrices
                if matrix.name in layer.biases
            },
        )

    def product(self, kind: Kind, inputs: FloatArray) -> FloatArray:
        """The inputs times the matrix transposed, and its bias."""
        return self.biased(kind, inputs @ self.matrices[kind].T)

    def biased(self, kind: Kind, outputs: FloatArray) -> FloatArray:
        """The outputs of a matrix, and its bias."""
        return outputs + self.biases[kind] if kind in self.biases else outputs


def read(checkpoint: Checkpoint, part: Matrix | Vector) -> FloatArray:
    """A whole matrix or vector, in fp32.

    Read in pieces: pages of a file that is mapped whole would count as memory of the process.
    """
    tensors = [checkpoint.weights.tensors[name] for name in part.sources]
    whole = np.empty((sum(tensor.shape[0] for tensor in tensors), *tensors[0].shape[1:]), np.float32)
    start = 0
    for name, tensor in zip(part.sources, tensors, strict=True):
        for first, piece in checkpoint.weights.pieces(name):
            whole[start + first : start + first + len(piece)] = piece
        start += tensor.shape[0]
    return whole


def embedded(checkpoint: Checkpoint, token_ids: npt.NDArray[np.int64]) -> FloatArray:
    """The rows of the embedding for token ids [...], float32 [..., hidden]; it is read in pieces."""
    found = np.empty((*token_ids.shape, checkpoint.architecture.hidden_size), np.float32)
    for first, piece in checkpoint.weights.pieces(EMBEDDING):
        here = (token_ids >= first) & (token_ids < first + len(piece))
        found[here] = piece[token_ids[here] - first]
    return found


class Reader:
    """Computes layers. x, float32 [texts, tokens, hidden], is what goes from one to the next."""

    def __init__(self, model: Architecture, tokens: int) -> None:
        """tokens: of the longest text."""
        self._model = model
        cosines, sines = model.rope.tables(tokens, model.head_dim)
        self._cosines, self._sines = cosines[:, None], sines[:, None]
        self._future = np.triu(np.full((tokens, tokens), -np.inf, np.float32), 1)

    def layer(self, x: FloatArray, norms: tuple[FloatArray, FloatArray], product: Product) -> FloatArray:
        """One layer. product: called for qkv, o, gate_up and down in this order."""
        joined = product("qkv", self.norm(x, norms[0]))
        x = x + product("o", np.stack([self._attention(text) for text in joined]))
        gate, up = np.split(product("gate_up", self.norm(x, norms[1])), 2, axis=-1)
        return x + product("down", up * gate / (1 + np.exp(-gate)))

    def norm(self, x: FloatArray, weight: FloatArray) -> FloatArray:
        """RMSNorm."""
        mean = np.square(x).mean(axis=-1, keepdims=True)
        normed: FloatArray = x / np.sqrt(mean + np.float32(self._model.norm_epsilon)) * weight
        return normed

    def _attention(self, joined: FloatArray) -> FloatArray:
        """Causal attention in one text, [tokens, heads * head_dim]; joined: queries, keys and values."""
        model, tokens = self._model, len(joined)
        heads = joined.reshape(tokens, -1, model.head_dim)
        queries, keys, values = np.split(heads, (model.heads, model.heads + model.kv_heads), axis=1)
        # The heads that share keys and values are together: [kv_heads, heads of each, tokens, head_dim].
        shape = (model.kv_heads, -1, tokens, model.head_dim)
        queries = self._rotated(queries).transpose(1, 0, 2).reshape(shape)
        scores = queries @ self._rotated(keys).transpose(1, 2, 0)[:, None] / np.float32(model.head_dim**0.5)
        scores += self._future[:tokens, :tokens]
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        attended: FloatArray = weights @ values.transpose(1, 0, 2)[:, None]
        return attended.reshape(model.heads, tokens, -1).transpose(1, 0, 2).reshape(tokens, -1)

    def _rotated(self, heads: FloatArray) -> FloatArray:
        """heads: [tokens, heads, head_dim]; each dimension of the first half turns with one of the second."""
        first, second = np.split(heads, 2, axis=-1)
        cosines, sines = self._cosines[: len(heads)], self._sines[: len(heads)]
        return np.concatenate([first * cosines - second * sines, second * cosines + first * sines], axis=-1)
