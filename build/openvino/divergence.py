"""How far the predictions of changed models are from those of the model itself (Kullback-Leibler)."""

import numpy as np
import numpy.typing as npt

from build.checkpoint.architecture import EMBEDDING, LM_HEAD
from build.checkpoint.checkpoint import Checkpoint

FloatArray = npt.NDArray[np.float32]


def divergences(checkpoint: Checkpoint, reference: FloatArray, changed: FloatArray) -> FloatArray:
    """The mean over tokens of the divergence of each changed model, float32 [models], in nats.

    On text that the model itself would write, this is the logarithm of what the change does to perplexity.
    reference: outputs of the final norm, [tokens, hidden]. changed: the same of changed models,
    [models, tokens, hidden]. The lm_head is read in pieces.
    """
    both = np.concatenate([reference[None], changed])
    peaks = np.full(both.shape[:2], -np.inf, np.float32)
    sums = np.zeros_like(peaks)  # of exp(logit - peak), over the vocabulary
    gaps = np.zeros_like(
        peaks
    )  # of the reference's exp(logit - peak), times by how much its logits are higher
    for _, piece in checkpoint.weights.pieces(EMBEDDING if checkpoint.architecture.tied else LM_HEAD):
        logits = both @ piece.astype(np.float32).T
        higher = np.maximum(peaks, logits.max(axis=-1))
        shrink = np.exp(peaks - higher)
        exponents = np.exp(logits - higher[..., None])
        sums = sums * shrink + exponents.sum(axis=-1)
        gaps = gaps * shrink[0] + np.einsum("tv,mtv->mt", exponents[0], logits[0] - logits)
        peaks = higher
    logs = peaks + np.log(sums)
    result: FloatArray = (gaps / sums[0] + logs - logs[0]).mean(axis=-1)[1:]
    return result
