"""The keys and values of all sequences, one slot each."""

import mmap
import sys
from math import gcd, prod

import numpy as np
from numpy.typing import NDArray

from slipway.runtime.mapped_memory import MappedMemory

FloatArray = NDArray[np.float32]

_ITEM = np.dtype(np.float32).itemsize


class KVCache:
    """One buffer of keys and one of values per layer, float32 [slots, kv_heads, max_len, head_size].

    This is the layout that GroupQueryAttention updates in place when past and present share their memory
    (microsoft/onnxruntime, docs/ContribOperators.md); a slot is contiguous in it, and so is a range of slots.
    max_len is rounded up so that each head of a slot starts a page. Resident memory grows with the
    tokens written, not with max_len.
    """

    # `Window`s need a C library that maps memory at a given address.
    has_windows = sys.platform == "linux"

    def __init__(self, layers: int, slots: int, kv_heads: int, max_len: int, head_size: int) -> None:
        self._row_bytes = head_size * _ITEM
        rows_per_page = mmap.PAGESIZE // gcd(mmap.PAGESIZE, self._row_bytes)
        max_len = -(-max_len // rows_per_page) * rows_per_page
        self._slot_shape = (kv_heads, max_len, head_size)
        self._kv_heads = kv_heads
        self._head_bytes = max_len * self._row_bytes
        self._slot_bytes = kv_heads * self._head_bytes
        self.bytes_per_token = 2 * layers * kv_heads * self._row_bytes
        size = slots * self._slot_bytes
        self._starts = range(0, 2 * layers * size, size)
        self._memory = MappedMemory(2 * layers * size)
        buffers = [self._memory.array(start, (slots, *self._slot_shape)) for start in self._starts]
        self.keys: list[FloatArray] = buffers[:layers]
        self.values: list[FloatArray] = buffers[layers:]

    def copy(self, source: int, slot: int, length: int) -> None:
        """Copy the first `length` rows of one slot to another."""
        for buffer in (*self.keys, *self.values):
            buffer[slot, :, :length] = buffer[source, :, :length]

    def release(self, slot: int, keep: int = 0) -> None:
        """Give the memory past the first `keep` rows of a slot back to the operating system."""
        for start in self._starts:
            for head in range(self._kv_heads):
                first = start + slot * self._slot_bytes + head * self._head_bytes
                self._memory.release(first + keep * self._row_bytes, first + self._head_bytes)

    def window(self, slot: int, rows: int) -> "Window":
        """A slot as a batch of `rows` rows, all of this one sequence."""
        starts = [start + slot * self._slot_bytes for start in self._starts]
        return Window(self._memory, starts, (rows, *self._slot_shape))


class Window:
    """One slot's keys and values per layer, float32 [rows, kv_heads, max_len, head_size]: every row is the
    same memory, so all rows read what one row writes.
    """

    def __init__(self, memory: MappedMemory, starts: list[int], shape: tuple[int, ...]) -> None:
        rows, *slot = shape
        self._copies = memory.repeated(starts, prod(slot) * _ITEM, rows)
        buffers = [self._copies.array(index, shape) for index in range(len(starts))]
        layers = len(starts) // 2
        self.keys: list[FloatArray] = buffers[:layers]
        self.values: list[FloatArray] = buffers[layers:]
