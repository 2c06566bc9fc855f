"""How the graph stores a matrix: as numbers of 32 bits, or rounded to 8 with scales.

Every row is rounded by itself, so a matrix can be written in pieces of rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as op

from build.rounding import FloatArray, per_channel

Shape = tuple[int, ...]
# An int8 matrix in blocks has one scale for each of so many weights of a row.
BLOCK = 64


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor of a stored matrix. Its first dimension is the matrix's outputs."""

    dtype: npt.DTypeLike
    shape: Shape


class Layout(Protocol):
    """One way to store a matrix [out, in]. Tensors have a suffix to the matrix's name."""

    def tensors(self, shape: tuple[int, int]) -> dict[str, Stored]:
        """The tensors that stand for a matrix of this shape, by suffix."""

    def expand(self, nodes: Mapping[str, ov.Node], shape: tuple[int, int]) -> ov.Node:
        """Nodes that make float32 [out, in] of the tensors."""

    def stored(self, rows: FloatArray) -> dict[str, npt.NDArray[Any]]:
        """The rows of each tensor for some rows [n, in] of the matrix."""


class Plain:
    """As it is, in fp32."""

    def tensors(self, shape: tuple[int, int]) -> dict[str, Stored]:
        """One tensor."""
        return {"": Stored(np.float32, shape)}

    def expand(self, nodes: Mapping[str, ov.Node], shape: tuple[int, int]) -> ov.Node:
        """The tensor itself."""
        return nodes[""]

    def stored(self, rows: FloatArray) -> dict[str, npt.NDArray[Any]]:
        """The rows themselves."""
        return {"": rows}


class PerOutput:
    """8 bits, with one scale for each output."""

    def tensors(self, shape: tuple[int, int]) -> dict[str, Stored]:
        """The integers and the scales."""
        return {"": Stored(np.int8, shape), ".scale": Stored(np.float32, (shape[0], 1))}

    def expand(self, nodes: Mapping[str, ov.Node], shape: tuple[int, int]) -> ov.Node:
        """Integers times scales."""
        return op.multiply(op.convert(nodes[""], "f32"), nodes[".scale"])

    def stored(self, rows: FloatArray) -> dict[str, npt.NDArray[Any]]:
        """Round to nearest."""
        integers, scale = per_channel(rows)
        return {"": integers, ".scale": scale[:, None]}


class InBlocks:
    """8 bits, with an fp16 scale for each BLOCK weights of a row."""

    def tensors(self, shape: tuple[int, int]) -> dict[str, Stored]:
        """The integers and the scales."""
        out, inner = shape
        blocks = inner // BLOCK
        return {
            "": Stored(np.int8, (out, blocks, BLOCK)),
            ".scale": Stored(np.float16, (out, blocks, 1)),
        }

    def expand(self, nodes: Mapping[str, ov.Node], shape: tuple[int, int]) -> ov.Node:
        """Integers times scales. The order of nodes is what the CPU plugin's fast path looks for."""
        scaled = op.multiply(op.convert(nodes[""], "f16"), nodes[".scale"])
        return op.convert(op.reshape(scaled, np.array(shape, np.int64), False), "f32")

    def stored(self, rows: FloatArray) -> dict[str, npt.NDArray[Any]]:
        """Round to nearest."""
        blocks = rows.reshape(len(rows), -1, BLOCK)
        peaks = np.abs(blocks).max(axis=2, keepdims=True)
        scale = np.maximum(peaks / 127, np.finfo(np.float16).smallest_subnormal).astype(np.float16)
        integers = np.rint(blocks / scale.astype(np.float32)).clip(-127, 127).astype(np.int8)
        return {"": integers, ".scale": scale}
