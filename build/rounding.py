"""Rounding matrices to 8 bits, and moving outliers from activations to weights before."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def smoothing(peaks: FloatArray, weights: list[FloatArray], strength: float) -> FloatArray:
    """The scale of each channel, float32 [in]: activations are divided by it, weights multiplied.

    peaks: largest absolute activation of each channel. weights: the matrices that read them, [out, in].
    strength: 0 to 1, how much of an outlier moves from the activations to the weights (SmoothQuant, arXiv
    2211.10438, equation 4). The geometric mean of the scales is 1.
    """
    widest = np.max([np.abs(weight).max(axis=0) for weight in weights], axis=0)
    logs = strength * _log(peaks) - (1 - strength) * _log(widest)
    scales: FloatArray = np.exp(logs - logs.mean()).astype(np.float32)
    return scales


def per_channel(weight: FloatArray) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """A matrix [out, in] as int8 in -127..127, and the scale of each output, float32 [out]."""
    scale = np.maximum(np.abs(weight).max(axis=1), np.finfo(np.float32).tiny) / np.float32(127)
    return np.rint(weight / scale[:, None]).astype(np.int8), scale


def _log(values: FloatArray) -> FloatArray:
    """Logarithms; a channel that is never used counts as very small."""
    smallest = np.float32(max(float(values.max()), 1e-30) * 1e-5)
    logs: FloatArray = np.log(np.maximum(values, smallest))
    return logs
