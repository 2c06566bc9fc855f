"""Stop and bad words in TensorRT-LLM's tensors.

The layout is upstream's (NVIDIA/TensorRT-LLM, triton_backend, `_to_word_list_format` and `convertWordList`):
int32 [2, n], row 0 the ids of all words in turn, row 1 where each word ends, filled up with -1.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from slipway.contract.errors import InvalidRequest


def pack(words: Sequence[Sequence[int]]) -> npt.NDArray[np.int32]:
    """Token sequences to int32 [1, 2, n]; n is 0 when there are none."""
    words = [word for word in words if word]
    ids = [token for word in words for token in word]
    packed = np.full((1, 2, len(ids)), -1, np.int32)
    packed[0, 0] = ids
    packed[0, 1, : len(words)] = np.cumsum([len(word) for word in words])
    return packed


def unpack(packed: npt.NDArray[np.int32], name: str) -> tuple[tuple[int, ...], ...]:
    """int32 [1, 2, n] to token sequences.

    Raises InvalidRequest that names the tensor `name` when it is not such a list.
    """
    if packed.ndim != 3 or packed.shape[:2] != (1, 2):
        raise InvalidRequest(f"{name} has the shape {list(packed.shape)}; expected [1, 2, n].", param=name)
    ids, ends = packed[0].tolist()
    stops = ends[: ends.index(-1)] if -1 in ends else ends
    words, start = [], 0
    for stop in stops:
        if not start < stop <= len(ids):
            raise InvalidRequest(
                f"{name} says that a word ends at {stop}; ends must rise from 1 to {len(ids)} at most.",
                param=name,
            )
        words.append(tuple(ids[start:stop]))
        start = stop
    return tuple(words)
