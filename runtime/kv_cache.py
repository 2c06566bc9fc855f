"""Keys and values of every sequence, one slot each; owned by `executor`."""

import contextlib
import mmap
import sys
from math import prod

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


class KVCache:
    """One buffer of keys and one of values per layer, float32 [slots, kv_heads, max_len, head_size].

    This is the layout that GroupQueryAttention updates in place when past and present share their memory
    (microsoft/onnxruntime, docs/ContribOperators.md); a slot is contiguous in it, and so is a range of slots.

    The operating system commits memory page by page, so what is resident follows the tokens written, not
    max_len. NumPy's own allocator would ask for huge pages and make nearly all of it resident at once.
    """

    def __init__(self, layers: int, slots: int, kv_heads: int, max_len: int, head_size: int) -> None:
        shape = (slots, kv_heads, max_len, head_size)
        size = prod(shape) * np.dtype(np.float32).itemsize
        self._memory = [_reserve(size) for _ in range(2 * layers)]
        self._kv_heads, self._head_bytes = kv_heads, size // (slots * kv_heads)
        self._row_bytes = self._head_bytes // max_len
        self.bytes_per_token = 2 * layers * kv_heads * self._row_bytes
        buffers = [np.frombuffer(memory, dtype=np.float32).reshape(shape) for memory in self._memory]
        self.keys: list[FloatArray] = buffers[:layers]
        self.values: list[FloatArray] = buffers[layers:]

    def copy(self, source: int, slot: int, length: int) -> None:
        """Copy the first `length` rows of one slot to another."""
        for buffer in (*self.keys, *self.values):
            buffer[slot, :, :length] = buffer[source, :, :length]

    def release(self, slot: int, keep: int = 0) -> None:
        """Give the memory past the first `keep` rows of a slot back to the operating system."""
        if sys.platform != "linux":
            return  # elsewhere the pages stay and the slot's next sequence uses them again
        for head in range(slot * self._kv_heads, (slot + 1) * self._kv_heads):
            start = _page(head * self._head_bytes + keep * self._row_bytes + mmap.PAGESIZE - 1)
            end = _page((head + 1) * self._head_bytes)
            if start < end:
                for memory in self._memory:
                    memory.madvise(mmap.MADV_DONTNEED, start, end - start)


def _page(offset: int) -> int:
    return offset // mmap.PAGESIZE * mmap.PAGESIZE


def _reserve(size: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a kernel built without huge pages refuses this advice
            memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory
