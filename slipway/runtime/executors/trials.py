"""What an executor's kernels do to the bits of logits, tried out on its empty slots."""

from collections.abc import Sequence

import numpy as np

from slipway.runtime.executors.base import Executor
from slipway.runtime.kv_cache import FloatArray


def company_differs(executor: Executor, prompt: Sequence[int], tokens: Sequence[int]) -> bool:
    """Whether a token decoded alone has other logits than beside one of another slot; takes slots 0 and 1."""
    for slot in (0, 1):
        executor.prefill(slot, prompt)
    together = [executor.decode([0, 1], [token, token])[0].copy() for token in tokens]
    executor.release(0)
    executor.prefill(0, prompt)
    alone = _one_by_one(executor, tokens)
    for slot in (0, 1):
        executor.release(slot)
    return not _same(alone, together)


def drafts_differ(executor: Executor, prompt: Sequence[int], tokens: Sequence[int]) -> bool:
    """Whether tokens of a sequence have other logits in one pass than one by one; takes slot 0."""
    executor.prefill(0, prompt)
    alone = _one_by_one(executor, tokens)
    executor.release(0)
    executor.prefill(0, prompt)
    [together] = executor.extend([0], [tokens])
    executor.release(0)
    return not _same(alone, together)


def chunks_differ(executor: Executor, prompt: Sequence[int], tokens: Sequence[int], cut: int) -> bool:
    """Whether a prompt read in two chunks gives other logits than at once, for what follows it too; takes
    slot 0. cut: tokens of the first chunk.
    """
    read = []
    for chunks in ([prompt], [prompt[:cut], prompt[cut:]]):
        last = [executor.prefill(0, chunk).copy() for chunk in chunks][-1]
        read.append([last, *_one_by_one(executor, tokens)])
        executor.release(0)
    return not _same(*read)


def _one_by_one(executor: Executor, tokens: Sequence[int]) -> list[FloatArray]:
    return [executor.decode([0], [token])[0].copy() for token in tokens]


def _same(one: Sequence[FloatArray], other: Sequence[FloatArray]) -> bool:
    return all(np.array_equal(*pair) for pair in zip(one, other, strict=True))
