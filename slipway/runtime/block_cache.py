"""Keys and values in blocks of tokens, which a sequence may have anywhere."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from slipway.runtime.mapped_memory import MappedMemory

# Tokens of a block in OpenVINO's paged attention on the CPU (openvinotoolkit/openvino,
# src/plugins/intel_cpu/src/nodes/paged_attn.cpp).
BLOCK = 32


class BlockCache:
    """One buffer of keys and one of values per layer, bytes [blocks, kv_heads, BLOCK, head_size, item size].

    Every slot has neighbouring blocks for its longest sequence. One more block is a scratch block.
    Resident memory grows with the tokens written.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], slots: int, max_len: int) -> None:
        """shapes: of one block in each buffer, in bytes, by name."""
        self._blocks_of_slot = blocks_for(max_len)
        count = slots * self._blocks_of_slot + 1
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

    def blocks(self, slot: int, length: int) -> NDArray[np.int32]:
        """The blocks of a slot's first `length` tokens."""
        start = slot * self._blocks_of_slot
        return np.arange(start, start + blocks_for(length), dtype=np.int32)

    def copy(self, source: int, slot: int, length: int) -> None:
        """Copy the blocks of the first `length` tokens of one slot to another."""
        taken, given = self.blocks(source, length), self.blocks(slot, length)
        for array in self.arrays.values():
            array[given] = array[taken]

    def release(self, slot: int, keep: int = 0) -> None:
        """Give the memory behind the blocks of the first `keep` tokens back to the operating system."""
        first, stop = slot * self._blocks_of_slot + blocks_for(keep), (slot + 1) * self._blocks_of_slot
        for name, size in self._sizes.items():
            self._memory.release(self._starts[name] + first * size, self._starts[name] + stop * size)


def blocks_for(tokens: int) -> int:
    """Blocks that hold so many tokens."""
    return -(-tokens // BLOCK)
