"""Layouts of TensorRT-LLM's engine model: stop words, bad words and biases as tensors.

The layout of words is upstream's (NVIDIA/TensorRT-LLM, triton_backend, `_to_word_list_format` and
`convertWordList`): int32 [2, n], row 0 the ids of all words in turn, row 1 where each word ends, filled up
with -1.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from slipway.contract.errors import InvalidRequest


def pack_words(words: Sequence[Sequence[int]]) -> npt.NDArray[np.int32]:
    """Token sequences to int32 [1, 2, n]; n is 0 when there are none."""
    words = [word for word in words if word]
    ids = [token for word in words for token in word]
    packed = np.full((1, 2, len(ids)), -1, np.int32)
    packed[0, 0] = ids
    packed[0, 1, : len(words)] = np.cumsum([len(word) for word in words])
    return packed


def unpack_words(packed: npt.NDArray[np.int32], name: str) -> tuple[tuple[int, ...], ...]:
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


def dense_bias(bias: Iterable[tuple[Sequence[int], float]], vocab_size: int) -> npt.NDArray[np.float32]:
    """Token ids, and what to add to their logits, to float32 [1, vocab_size].

    The C++ backend casts it to the type of the logits, and refuses any other length (getEmbeddingBias and its
    caller in cpp/tensorrt_llm/batch_manager/createNewDecoderRequests.cpp).
    """
    dense = np.zeros((1, vocab_size), np.float32)
    for ids, value in bias:
        np.add.at(dense[0], list(ids), value)
    return dense
