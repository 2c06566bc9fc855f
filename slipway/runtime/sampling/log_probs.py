"""Log-probabilities to report with a chosen token."""

import numpy as np

from slipway.contract.generation import TopLogProbs
from slipway.runtime.kv_cache import FloatArray
from slipway.runtime.sampling.sampler import largest

MAX_TOP_LOG_PROBS = 20


def log_probability(logits: FloatArray, token: int) -> float:
    """Natural log of the softmax of raw logits, float32 [vocab], at `token`."""
    return float(logits[token]) - _log_sum_exp(logits)


def rank(logits: FloatArray, token: int) -> int:
    """1 for the likeliest token of raw logits, float32 [vocab]. Equal ones share a rank."""
    return 1 + int(np.count_nonzero(logits > logits[token]))


def top_log_probs(logits: FloatArray, count: int) -> TopLogProbs:
    """The `count` likeliest tokens of raw logits, float32 [vocab]; among equals, the lower id comes first.

    Fewer if fewer are possible (have a logit above minus infinity).
    """
    least = max(logits[largest(logits, count)].min(), np.finfo(np.float32).min)
    tokens = np.flatnonzero(logits >= least)
    tokens = tokens[np.argsort(-logits[tokens], kind="stable")[:count]]
    log_probs = logits[tokens].astype(np.float64) - _log_sum_exp(logits)
    return TopLogProbs(tuple(tokens.tolist()), tuple(log_probs.tolist()))


def _log_sum_exp(logits: FloatArray) -> float:
    peak = logits.max()
    return float(peak) + float(np.log(np.exp(logits - peak).sum(dtype=np.float64)))
