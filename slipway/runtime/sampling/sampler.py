"""The choice of the next token from logits.

The order is that of transformers (src/transformers/generation/utils.py, `_get_logits_processor`): the
adjustments, temperature, top_k, top_p, min_p, the draw. vLLM has the same but for min_p, which it
applies before top_k; the two differ only where min_p is given together with top_p.
"""

import math
from collections.abc import Sequence, Set

import numpy as np
from numpy.typing import NDArray

from slipway.contract.errors import EngineFailed
from slipway.contract.generation import SamplingParams
from slipway.runtime.kv_cache import FloatArray
from slipway.runtime.sampling.adjustments import Adjustments

_SEED_BITS = 64

# At temperatures below this the likeliest token is chosen, as in vLLM (vllm/v1/sample/sampler.py).
_GREEDY_BELOW = 1e-5

# Sums and maxima of blocks find the few entries of a vocabulary that matter. Measured on 49,152 float32:
# argpartition 370 us, a cumulative sum 150 us, the sums of blocks 8 us.
_BLOCK = 256


class Sampler:
    """Chooses tokens for one sequence, with a random generator of its own.

    It draws one number per token, and no other sequence shares the generator: a seed gives the same answer,
    whatever else runs. Parameters count as float32, because that is how they come through Triton.

    eos_token_ids: not chosen before params.min_tokens.
    """

    def __init__(
        self, params: SamplingParams, prompt_token_ids: Sequence[int], eos_token_ids: Set[int]
    ) -> None:
        self._temperature = np.float32(params.temperature)
        self._top_k = params.top_k
        self._top_p = float(np.float32(params.top_p))
        self._min_p = np.float32(params.min_p)
        self._adjustments = (
            Adjustments(params, prompt_token_ids, eos_token_ids) if Adjustments.needed(params) else None
        )
        seed = None if params.seed is None else params.seed % (1 << _SEED_BITS)
        self._random = np.random.default_rng(seed)

    def choose(self, logits: FloatArray) -> int:
        """The next token from float32 [vocab]; it counts as part of the sequence from then on.

        Raises EngineFailed for logits that are not numbers: the answer would repeat token 0.
        """
        if self._adjustments is None:
            return self._choose(logits)
        token = self._choose(self._adjustments.applied(logits))
        self._adjustments.append(token)
        return token

    def _choose(self, logits: FloatArray) -> int:
        if self._temperature < _GREEDY_BELOW:
            # Row by row: 16 rows of 49,152 take 42 us so, and 36 us in one call.
            token = int(logits.argmax())
            check_peak(logits[token])
            return token
        tokens, weights = self._candidates(logits)
        chosen = _draw(weights, self._random.random())
        return chosen if tokens is None else int(tokens[chosen])

    def _candidates(self, logits: FloatArray) -> tuple[NDArray[np.int64] | None, FloatArray]:
        """Which tokens may be drawn (None: all) and their weights, which need not sum to 1."""
        peak = logits.max()
        check_peak(peak)
        tokens = largest(logits, self._top_k) if 0 < self._top_k < logits.size else None
        kept = logits if tokens is None else logits[tokens]
        weights = np.exp((kept - peak) / self._temperature)
        if self._top_p < 1:
            tokens, weights = _only(_nucleus(weights, self._top_p), tokens, weights)
        if self._min_p > 0:
            tokens, weights = _only(np.flatnonzero(weights >= self._min_p * weights.max()), tokens, weights)
        return tokens, weights


def check_peak(peak: np.float32) -> None:
    """Raise EngineFailed unless the largest logit, which is NaN if any of them is, is a number."""
    if not math.isfinite(peak):
        raise EngineFailed(
            f"The model computed {peak} in place of logits: its numbers overflow on this prompt, as in fp16 "
            "those of models trained in bf16 may. Build the engine with another quantization or target."
        )


def largest(values: FloatArray, count: int) -> NDArray[np.int64]:
    """Indices of the `count` largest of float32 [n], ascending."""
    if count >= values.size:
        return np.arange(values.size)
    peaks = np.maximum.reduceat(values, np.arange(0, values.size, _BLOCK))
    if count < peaks.size:
        # As many entries as there are such peaks reach the count-th largest peak, so no other is needed.
        candidates = np.flatnonzero(values >= np.partition(peaks, -count)[-count])
    else:
        candidates = np.arange(values.size)
    kept: NDArray[np.int64] = candidates[np.argpartition(values[candidates], -count)[-count:]]
    return np.sort(kept)


def _only(
    kept: NDArray[np.int64], tokens: NDArray[np.int64] | None, weights: FloatArray
) -> tuple[NDArray[np.int64], FloatArray]:
    return kept if tokens is None else tokens[kept], weights[kept]


def _nucleus(weights: FloatArray, top_p: float) -> NDArray[np.int64]:
    """Indices of the fewest weights whose share reaches top_p (Holtzman et al. 2020), largest first."""
    total = weights.sum(dtype=np.float64)
    # Weights under (1 - top_p) / n of the total sum to less than 1 - top_p of it, so none of them is in the
    # nucleus: sorting the others is enough, which are few.
    candidates = np.flatnonzero(weights >= (1 - top_p) * total / weights.size)
    ordered = candidates[np.argsort(-weights[candidates])]
    count = int(np.searchsorted(np.cumsum(weights[ordered], dtype=np.float64), top_p * total)) + 1
    return ordered[:count]


def _draw(weights: FloatArray, uniform: float) -> int:
    """The index that `uniform`, in [0, 1), falls on when weights are laid end to end."""
    blocks = np.add.reduceat(weights, np.arange(0, weights.size, _BLOCK), dtype=np.float64).cumsum()
    at = uniform * blocks[-1]
    block = _covering(blocks, at)
    start = block * _BLOCK
    before = blocks[block - 1] if block else 0.0
    return start + _covering(weights[start : start + _BLOCK].cumsum(dtype=np.float64), at - before)


def _covering(ends: NDArray[np.float64], at: float) -> int:
    """The first whose end is past `at`: never one without weight, nor, by rounding, one past the last."""
    return int(np.searchsorted(ends, min(at, np.nextafter(ends[-1], 0)), side="right"))
