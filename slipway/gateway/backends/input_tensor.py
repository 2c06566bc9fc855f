"""An input tensor of a request to Triton."""

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput
from tritonclient.utils import np_to_triton_dtype


def tensor(name: str, values: npt.ArrayLike, dtype: npt.DTypeLike) -> InferInput:
    """Return an input with the shape of `values`."""
    array = np.array(values, dtype)
    made = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    made.set_data_from_numpy(array)
    return made
