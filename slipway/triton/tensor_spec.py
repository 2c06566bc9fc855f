"""A tensor of a Triton model, as config.pbtxt declares it."""

from dataclasses import dataclass
from typing import Literal

DataType = Literal["BOOL", "UINT8", "INT32", "INT64", "UINT64", "FP16", "FP32", "STRING"]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model.

    dims: the shape without the batch dimension; -1 is any size.
    reshape: the shape that the model sees instead of `dims`, where the two differ.
    optional, ragged: for inputs only. `ragged` lets requests of different sizes share a batch.
    """

    name: str
    dtype: DataType
    dims: tuple[int, ...]
    optional: bool = False
    ragged: bool = False
    reshape: tuple[int, ...] | None = None
