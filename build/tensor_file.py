"""A safetensors file whose shapes are known before its numbers; written by `convert` in any order.

Format: https://huggingface.co/docs/safetensors (length of the header, header, numbers without gaps).
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from build.weights import DTYPES


class TensorFile:
    """Opening writes the header and gives the file its size; what is never written reads as zeros."""

    def __init__(self, path: Path, dtype: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """dtype: safetensors' name. shapes: of every tensor, by name, in the order of the file."""
        item = np.dtype(DTYPES[dtype]).itemsize
        entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, shape in shapes.items():
            start, end = end, end + math.prod(shape) * item
            entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": (start, end)}
        header = json.dumps(entries).encode()
        header += b" " * (-len(header) % 8)  # so that numbers are aligned in a mapped file
        first = 8 + len(header)
        self._starts = {name: first + entries[name]["data_offsets"][0] for name in shapes}
        self._row_sizes = {name: math.prod(shape[1:]) * item for name, shape in shapes.items()}
        self._stream = path.open("wb")
        self._stream.write(len(header).to_bytes(8, "little") + header)
        self._stream.truncate(first + end)

    def write(self, name: str, row: int, rows: npt.NDArray[Any]) -> None:
        """Put whole rows, of the file's dtype, into the tensor `name` from `row` on."""
        self._stream.seek(self._starts[name] + row * self._row_sizes[name])
        self._stream.write(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
