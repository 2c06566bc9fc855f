"""The dtype of unquantized weights: bfloat16 or float16."""

from typing import Any

import numpy as np
import numpy.typing as npt

from build.checkpoint.checkpoint import Checkpoint
from build.checkpoint.weights import DTYPES
from slipway.contract.errors import CheckpointError
from slipway.contract.recipe import Dtype

STORED: dict[Dtype, str] = {"bfloat16": "BF16", "float16": "F16"}
# Bits of the exponent; when all are set, the number is NaN or infinity (IEEE 754).
_EXPONENTS: dict[Dtype, int] = {"bfloat16": 0x7F80, "float16": 0x7C00}


def dtype_of(checkpoint: Checkpoint) -> Dtype:
    """The dtype of most tensors; fp32 becomes bfloat16, which has its range."""
    return "float16" if checkpoint.weights.dtype == "float16" else "bfloat16"


def cast(piece: npt.NDArray[Any], dtype: Dtype, checkpoint: Checkpoint, source: str) -> npt.NDArray[Any]:
    """Round a piece of the tensor `source` to `dtype`, to nearest even.

    Raises CheckpointError when a number is not finite, before or after.
    """
    with np.errstate(over="ignore"):
        numbers = piece.astype(DTYPES[STORED[dtype]], copy=False)
    exponents = numbers.view(np.uint16) & _EXPONENTS[dtype]
    if exponents.max() < _EXPONENTS[dtype]:
        return numbers
    if dtype == "bfloat16" or not np.isfinite(piece).all():  # bfloat16 has the range of fp32
        raise checkpoint.not_finite(source)
    largest = np.abs(piece.astype(np.float64)).max()
    raise CheckpointError(
        f"{checkpoint.directory / checkpoint.weights.tensors[source].file}: {source} holds {largest:.3g}, "
        f"which {dtype} cannot hold; give --dtype bfloat16."
    )
