"""The weights of a decoder as the graph reads them, and the tensors of the checkpoint they are made of."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from build.checkpoint.architecture import EMBEDDING, LM_HEAD, Architecture

Kind = Literal["embedding", "qkv", "o", "gate_up", "down", "lm_head"]
FINAL_NORM = "norm"


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix [out, in]: the matrices `sources` of the checkpoint below each other.

    norm: the norm whose output it reads and that smoothing may scale, or None. bias: its name, or None.
    """

    name: str
    kind: Kind
    sources: tuple[str, ...]
    shape: tuple[int, int]
    norm: str | None = None
    bias: str | None = None


@dataclass(frozen=True, slots=True)
class Vector:
    """A norm's weight or a bias: the vectors `sources` of the checkpoint one after the other."""

    name: str
    sources: tuple[str, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Layer:
    """The weights of one layer. first_norm is before the attention, second_norm before the MLP."""

    first_norm: Vector
    qkv: Matrix
    output: Matrix
    second_norm: Vector
    gate_up: Matrix
    down: Matrix
    biases: dict[str, Vector]

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        """In the order of the graph."""
        return self.qkv, self.output, self.gate_up, self.down

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """Norms and biases."""
        return self.first_norm, self.second_norm, *self.biases.values()


def layer(model: Architecture, index: int) -> Layer:
    """The weights of layer `index`, counted from 0."""
    hidden, inner, prefix = model.hidden_size, model.intermediate_size, f"layers.{index}."
    query, key = model.heads * model.head_dim, model.kv_heads * model.head_dim
    biases: dict[str, Vector] = {}

    def matrix(kind: Kind, parts: list[str], shape: tuple[int, int], bias: bool, norm: str | None) -> Matrix:
        name = prefix + kind
        sources = [f"model.{prefix}{part}_proj" for part in parts]
        if bias:
            biases[name] = Vector(f"{name}.bias", tuple(f"{each}.bias" for each in sources), shape[0])
        return Matrix(
            name,
            kind,
            tuple(f"{each}.weight" for each in sources),
            shape,
            prefix + norm if norm else None,
            f"{name}.bias" if bias else None,
        )

    def norm(name: str) -> Vector:
        return Vector(prefix + name, (f"model.{prefix}{name}.weight",), hidden)

    attention = [f"self_attn.{part}" for part in "qkv"]
    first, second = "input_layernorm", "post_attention_layernorm"
    return Layer(
        norm(first),
        matrix("qkv", attention, (query + 2 * key, hidden), model.qkv_bias, first),
        matrix("o", ["self_attn.o"], (hidden, query), model.output_bias, None),
        norm(second),
        matrix("gate_up", ["mlp.gate", "mlp.up"], (2 * inner, hidden), model.mlp_bias, second),
        matrix("down", ["mlp.down"], (hidden, inner), model.mlp_bias, None),
        biases,
    )


def embedding(model: Architecture) -> Matrix:
    """The embedding table; where it is tied, the lm_head too."""
    return Matrix("embedding", "embedding", (EMBEDDING,), (model.vocab_size, model.hidden_size))


def lm_head(model: Architecture) -> Matrix | None:
    """The lm_head; None where it is the embedding."""
    if model.tied:
        return None
    return Matrix("lm_head", "lm_head", (LM_HEAD,), (model.vocab_size, model.hidden_size))


def final_norm(model: Architecture) -> Vector:
    """The norm before the lm_head."""
    return Vector(FINAL_NORM, ("model.norm.weight",), model.hidden_size)


def everything(model: Architecture) -> Iterator[Matrix | Vector]:
    """All weights of the model."""
    yield embedding(model)
    for index in range(model.layers):
        found = layer(model, index)
        yield from found.matrices
        yield from found.vectors
    yield final_norm(model)
    if head := lm_head(model):
        yield head
