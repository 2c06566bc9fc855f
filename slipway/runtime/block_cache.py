"""Keys and values in blocks of tokens, which a sequence may have anywhere."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from slipway.runtime.mapped_memory import MappedMemory

# Tokens of a block in OpenVINO's paged attention on the CPU (openvinotoolkit/openvino,
# src/plugins/intel_cpu/src/nodes/paged_attn.cpp).
BLOCK = 32


class BlockCache:
    """One buffer of keys and one of values per layer, bytes [blocks, kv_heads, BLOCK, head_size, item size].

    The last block is a scratch block. Resident memory grows with the tokens written.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], blocks: int) -> None:
        """shapes: of one block in each buffer, in bytes, by name. blocks: beside the scratch block."""
        count = blocks + 1
        self._sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        starts = np.cumsum([0, *self._sizes.values()]) * count
        self._starts = dict(zip(shapes, starts.tolist(), strict=False))
        self._memory = MappedMemory(count * sum(self._sizes.values()))
        self.arrays: dict[str, NDArray[np.uint8]] = {
            name: self._memory.array(self._starts[name], (count, *shape), np.uint8)
            for name, shape in shapes.items()
        }
        self.scratch = np.array([count - 1], np.int32)
        self.bytes_per_token = sum(self._sizes.values()) // BLOCK

    def release(self, blocks: Iterable[int]) -> None:
        """Give the memory behind blocks back to the operating system."""
        for first, stop in _ranges(sorted(blocks)):
            for name, size in self._sizes.items():
                start = self._starts[name]
                self._memory.release(start + first * size, start + stop * size)


def _ranges(ascending: Iterable[int]) -> list[tuple[int, int]]:
    """Neighbours joined: [first, stop) each."""
    ranges: list[tuple[int, int]] = []
    for block in ascending:
        if ranges and ranges[-1][1] == block:
            ranges[-1] = (ranges[-1][0], block + 1)
        else:
            ranges.append((block, block + 1))
    return ranges


def blocks_for(tokens: int) -> int:
    """The number of blocks that hold this number of tokens."""
    return -(-tokens // BLOCK)
