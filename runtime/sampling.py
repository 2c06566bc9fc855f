"""How the next token is chosen from logits; one `Sampler` per sequence."""

import numpy as np
from numpy.typing import NDArray

from engines.generation import SamplingParams
from runtime.kv_cache import FloatArray

_SEED_BITS = 64


class Sampler:
    """Chooses tokens for one sequence, with a random generator of its own.

    One number is drawn per token and by nobody else, so a seed gives the same answer whoever the neighbours
    are.
    """

    def __init__(self, params: SamplingParams) -> None:
        self._params = params
        seed = None if params.seed is None else params.seed % (1 << _SEED_BITS)
        self._random = np.random.default_rng(seed)

    def choose(self, logits: FloatArray) -> int:
        """The next token from float32 [vocab]: temperature, then top_k, then top_p, then the draw."""
        params = self._params
        if params.temperature == 0:
            return int(logits.argmax())
        tokens = np.arange(logits.size)
        if 0 < params.top_k < logits.size:
            tokens = np.argpartition(logits, -params.top_k)[-params.top_k :]
        weights = _softmax(logits[tokens], params.temperature)
        if params.top_p < 1:
            kept = _nucleus(weights, params.top_p)
            tokens, weights = tokens[kept], weights[kept]
        return int(tokens[_draw(weights, self._random.random())])


def log_probability(logits: FloatArray, token: int) -> float:
    """Natural log of the softmax of raw logits, float32 [vocab], at `token`."""
    shifted = logits.astype(np.float64) - logits.max()
    return float(shifted[token] - np.log(np.exp(shifted).sum()))


def _softmax(logits: FloatArray, temperature: float) -> NDArray[np.float64]:
    # The largest is taken off before the division, so that no temperature, however small, overflows.
    weights = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    return np.asarray(weights / weights.sum())


def _nucleus(weights: NDArray[np.float64], top_p: float) -> NDArray[np.int64]:
    """Indices of the fewest largest weights whose sum reaches top_p (Holtzman et al. 2020), largest first."""
    # Weights under (1 - top_p) / n sum to less than 1 - top_p, so none of them is in the nucleus: sorting
    # the others is enough, which are few.
    candidates = np.flatnonzero(weights >= (1 - top_p) / weights.size)
    ordered = candidates[np.argsort(-weights[candidates], kind="stable")]
    count = int(np.searchsorted(np.cumsum(weights[ordered]), top_p)) + 1
    return ordered[:count]


def _draw(weights: NDArray[np.float64], uniform: float) -> int:
    """The index that `uniform`, in [0, 1), falls on when weights are laid end to end."""
    ends = np.cumsum(weights)
    return int(np.searchsorted(ends[:-1], uniform * ends[-1], side="right"))
