"""A safetensors file that is written row by row, in any order; its shapes are known before its numbers.

Format: https://huggingface.co/docs/safetensors (length of the header, header, numbers without gaps).
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from build.checkpoint.weights import ALL_DTYPES


class TensorFile:
    """Opening it writes the header and sets the size of the file; rows that are not written are zeros."""

    def __init__(self, path: Path, tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> None:
        """tensors: name, dtype (safetensors' name) and shape of each."""
        entries: dict[str, Any] = {}
        self._row_sizes: dict[str, int] = {}
        end = 0
        # Wide dtypes first: torch maps a tensor only when it starts at a multiple of its item size.
        for name, dtype, shape in sorted(tensors, key=lambda tensor: -_item(tensor[1])):
            self._row_sizes[name] = math.prod(shape[1:]) * _item(dtype)
            start, end = end, end + shape[0] * self._row_sizes[name]
            entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": (start, end)}
        header = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
        header += b" " * (-len(header) % 8)  # aligns the numbers in a mapped file
        first = 8 + len(header)
        self._starts = {name: first + entry["data_offsets"][0] for name, entry in entries.items()}
        self._stream = path.open("wb")
        self._stream.write(len(header).to_bytes(8, "little") + header)
        self._stream.truncate(first + end)

    def write(self, name: str, row: int, rows: npt.NDArray[Any]) -> None:
        """Write whole rows, in the tensor's dtype, into the tensor `name` from `row` on."""
        self._stream.seek(self._starts[name] + row * self._row_sizes[name])
        self._stream.write(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def _item(dtype: str) -> int:
    """Bytes of one number."""
    return np.dtype(ALL_DTYPES[dtype]).itemsize
