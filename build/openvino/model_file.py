"""A model of OpenVINO on disk: model.xml, the graph, and model.bin, the numbers, written row by row.

OpenVINO writes the graph while the weights are still inputs of it, so none of them is in memory. Then every
such input becomes a constant with a place in model.bin (layout: OpenVINO's IR, version 11,
docs.openvino.ai/2026/documentation/openvino-ir-format.html).
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import openvino as ov

from build.openvino.layouts import Stored
from slipway.contract.errors import NotWritten

# The same names are in slipway/runtime/executors/openvino.py.
GRAPH, NUMBERS = "model.xml", "model.bin"
# Constants start at a cache line, so that kernels may read them where they are mapped.
_ALIGNMENT = 64


class ModelFile:
    """Opening it writes the graph and sets the size of the numbers; rows that are not written are zeros."""

    def __init__(self, directory: Path, model: ov.Model, weights: Mapping[str, Stored]) -> None:
        """weights: the inputs of `model` that become constants, by name."""
        graph, numbers = directory / GRAPH, directory / NUMBERS
        _serialize(model, graph, numbers)
        self._starts: dict[str, int] = {}
        self._row_sizes: dict[str, int] = {}
        end = numbers.stat().st_size  # small constants of the graph itself
        for name, stored in weights.items():
            self._row_sizes[name] = math.prod(stored.shape[1:]) * np.dtype(stored.dtype).itemsize
            self._starts[name] = -(-end // _ALIGNMENT) * _ALIGNMENT
            end = self._starts[name] + stored.size
        self._write_places(graph, weights)
        self._stream = numbers.open("r+b")
        self._stream.truncate(end)

    def write(self, name: str, row: int, rows: npt.NDArray[Any]) -> None:
        """Write whole rows, in the tensor's dtype, into the tensor `name` from `row` on.

        A packed tensor is written whole, because a row may end within a byte.
        """
        self._stream.seek(self._starts[name] + row * self._row_sizes[name])
        self._stream.write(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)

    def _write_places(self, graph: Path, weights: Mapping[str, Stored]) -> None:
        tree = ElementTree.parse(graph)
        for layer in tree.getroot().iterfind("layers/layer"):
            name = layer.get("name", "")
            data = layer.find("data")
            if name not in weights or data is None:
                continue
            layer.set("type", "Const")
            data.set("offset", str(self._starts[name]))
            data.set("size", str(weights[name].size))
        tree.write(graph, encoding="utf-8", xml_declaration=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def _serialize(model: ov.Model, graph: Path, numbers: Path) -> None:
    """Raises NotWritten when the disk is full. OpenVINO itself says only that its stream failed."""
    try:
        ov.serialize(model, str(graph), str(numbers))
    except RuntimeError as error:
        if "iostream" not in str(error):
            raise
        raise NotWritten(
            f"OpenVINO could not write {graph} ({error}); the disk is full, or allows no file of this size: "
            "make room there, or take a folder on another disk."
        ) from None
