"""How the graph stores a matrix: as numbers of 32 bits, or rounded to 8 or 4 with scales.

Rows of 8 bits are rounded by themselves, so such a matrix can be written in pieces of rows.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as op

from build.openvino.gptq import GROUP, Rounded
from build.rounding import FloatArray, per_channel

Shape = tuple[int, ...]
# The weights of a row that share a scale in an int8 matrix in blocks.
BLOCK = 64


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor of a stored matrix. Its first dimension is the matrix's outputs.

    packed: two numbers of 4 bits in each byte, the first in the low half.
    """

    dtype: npt.DTypeLike
    shape: Shape
    packed: bool = False

    @property
    def element_type(self) -> ov.Type:
        """The type as OpenVINO names it."""
        return ov.Type.u4 if self.packed else ov.Type(np.dtype(self.dtype))

    @property
    def size(self) -> int:
        """Bytes."""
        numbers = math.prod(self.shape)
        return -(-numbers // 2) if self.packed else numbers * np.dtype(self.dtype).itemsize


class Layout(Protocol):
    """One way to store a matrix [out, in]. Tensors have a suffix to the matrix's name."""

    def tensors(self, shape: tuple[int, int]) -> dict[str, Stored]:
        """The tensors that stand for a matrix of this shape, by suffix."""

    def expand(self, nodes: Mapping[str, ov.Node], shape: tuple[int, int]) -> ov.Node:
        """Nodes that make float32 [out, in] of the tensors."""


class RowLayout(Layout, Protocol):
    """A layout whose rows are rounded by themselves."""

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


class FourBits:
    """4 bits, with a zero point of 4 bits and an fp16 scale for each GROUP weights of a row."""

    def tensors(self, shape: tuple[int, int]) -> dict[str, Stored]:
        """The codes, their zero points and the scales."""
        out, groups = shape[0], shape[1] // GROUP
        return {
            "": Stored(np.uint8, (out, groups, GROUP), packed=True),
            ".zero": Stored(np.uint8, (out, groups, 1), packed=True),
            ".scale": Stored(np.float16, (out, groups, 1)),
        }

    def expand(self, nodes: Mapping[str, ov.Node], shape: tuple[int, int]) -> ov.Node:
        """Codes less zero points, times scales, as the CPU plugin's fast path looks for them."""
        steps = op.subtract(op.convert(nodes[""], "f16"), op.convert(nodes[".zero"], "f16"))
        scaled = op.multiply(steps, nodes[".scale"])
        return op.convert(op.reshape(scaled, np.array(shape, np.int64), False), "f32")

    def stored(self, rounded: Rounded) -> dict[str, npt.NDArray[Any]]:
        """The whole of each tensor."""
        codes, zeros = (_packed(each) for each in (rounded.codes, rounded.zeros))
        return {"": codes, ".zero": zeros, ".scale": rounded.scales[..., None]}


def _packed(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Two numbers of 4 bits in each byte."""
    flat = codes.reshape(-1)
    flat = np.append(flat, np.zeros(flat.size % 2, np.uint8))
    return flat[0::2] | (flat[1::2] << np.uint8(4))
