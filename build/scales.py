"""The scale and the zero point of a group of 4-bit weights, found by trying several."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

LEVELS = 15  # the largest code of 4 bits
_TINY = np.float32(1e-12)


class Grid(NamedTuple):
    """How groups of weights [..., size] are rounded: weight = step * scale, and code = step + zero.

    steps: float32 [..., size], whole numbers from -zero to LEVELS - zero. scales, zeros: float32 [...].
    """

    steps: FloatArray
    scales: FloatArray
    zeros: FloatArray


def search(
    weight: FloatArray, importance: FloatArray, tries: Iterable[tuple[FloatArray, FloatArray]]
) -> Grid:
    """The grid with the least error, of those that `tries` gives and least squares refine.

    weight: [..., size]. importance: of each column, [..., size]; the squared error of a weight counts by it.
    tries: scales and zero points, [...] each.
    """
    counted = weight * importance
    best = Grid(np.zeros_like(weight), np.zeros_like(weight[..., 0]), np.zeros_like(weight[..., 0]))
    gains = np.full_like(best.scales, -1)
    for scale, zero in tries:
        steps = np.rint(weight / scale[..., None]).clip(-zero[..., None], (LEVELS - zero)[..., None])
        product = (steps * counted).sum(axis=-1)
        size = (np.square(steps) * importance).sum(axis=-1)
        refined = np.where(size > _TINY, product / np.maximum(size, _TINY), scale)
        gain = product * refined  # the part of the group's power that these steps explain
        better = gain > gains
        for kept, found in zip(best, (steps, refined, zero), strict=True):
            kept[better] = found[better]
        gains[better] = gain[better]
    return best
