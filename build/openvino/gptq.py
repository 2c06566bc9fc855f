"""Rounding a matrix to 4 bits so that its outputs change least (GPTQ, arXiv 2210.17323).

Columns are rounded one after the other. The error of each is moved onto the columns that are not rounded yet,
as far as their activations go together. A group of columns gets its scale and zero point when its turn comes,
from what the columns are by then.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from build.scales import LEVELS, search

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

# Added to the diagonal of the Hessian, as a share of its mean. The authors' 0.01 errs 5 % more on text unlike
# the one that is calibrated on.
DAMPING = 0.1
# Ranges that are tried for each group, relative to that of its weights.
_STRETCHES = np.linspace(0.7, 1.1, 9, dtype=np.float32)
# Columns that share a scale. With 32, a pass of 4 rows takes 7 % more processor time, and a prompt 12 %.
GROUP = 64
_ROWS = 256  # rounded at a time, so that a group's columns stay in the cache of a core
_SMALLEST, _LARGEST = (np.float32(value) for value in (2.0**-24, 65504))  # positive numbers of fp16


@dataclass(frozen=True, slots=True)
class Rounded:
    """A matrix [out, in] of 4 bits: (codes - zeros) * scales.

    codes: uint8 [out, groups, size], 0 to 15. zeros: uint8 [out, groups], 0 to 15. scales: float16
    [out, groups], above 0.
    """

    codes: ByteArray
    zeros: ByteArray
    scales: npt.NDArray[np.float16]

    def restored(self) -> FloatArray:
        """The matrix that the codes stand for, float32 [out, in]."""
        steps = np.subtract(self.codes, self.zeros[..., None], dtype=np.float32)
        restored: FloatArray = (steps * self.scales[..., None]).reshape(len(steps), -1)
        return restored


def round_matrix(weight: FloatArray, hessian: FloatArray, group: int = GROUP) -> Rounded:
    """Round a matrix [out, in] in groups of `group` columns.

    hessian: [in, in], the sum or the mean of x xᵀ over the inputs x of the matrix. Columns whose inputs are
    always zero count a little, so their weights are kept too.
    """
    out, inner = weight.shape
    order = _order(np.diagonal(hessian), group)
    factor = _factor(hessian, order)
    codes = np.empty((out, inner), np.uint8)
    zeros = np.empty((out, inner // group), np.uint8)
    scales = np.empty((out, inner // group), np.float16)
    places = order[::group] // group

    def round_rows(start: int) -> None:
        rows = slice(start, start + _ROWS)
        codes[rows, order], zeros[rows, places], scales[rows, places] = _round_rows(
            weight[rows][:, order], factor, group
        )

    with ThreadPoolExecutor() as threads:
        list(threads.map(round_rows, range(0, out, _ROWS)))
    return Rounded(codes.reshape(out, -1, group), zeros, scales)


def _order(power: FloatArray, group: int) -> npt.NDArray[np.intp]:
    """Columns in the order of rounding: the strongest group first, and the strongest column first in each.

    What is rounded first has the most columns left to take its error.
    """
    groups = power.reshape(-1, group)
    first = np.argsort(-groups.sum(axis=1), kind="stable")
    inside = np.argsort(-groups[first], axis=1, kind="stable")
    return np.asarray((first[:, None] * group + inside).ravel())


def _factor(hessian: FloatArray, order: npt.NDArray[np.intp]) -> FloatArray:
    """The upper triangular U with Uᵀ U = H⁻¹, for the damped Hessian in this order of columns."""
    # With all indices reversed, H is L Lᵀ; reversed back, the inverse of L is upper triangular, and U.
    damped = hessian[np.ix_(order[::-1], order[::-1])]
    damped /= np.diagonal(damped).mean() or np.float32(1)
    damped[np.diag_indices(len(damped))] += np.float32(DAMPING)
    # The damping bounds the condition number, so fp32 is enough; a Hessian may be as large as any matrix.
    return np.asarray(np.linalg.inv(np.linalg.cholesky(damped))[::-1, ::-1], np.float32)


def _round_rows(
    weight: FloatArray, factor: FloatArray, group: int
) -> tuple[ByteArray, ByteArray, FloatArray]:
    """Codes [rows, in], zeros and scales [rows, groups] of columns in order; `weight` is overwritten."""
    rows, inner = weight.shape
    codes = np.empty((rows, inner), np.uint8)
    zeros = np.empty((rows, inner // group), np.uint8)
    scales = np.empty((rows, inner // group), np.float32)
    diagonal = np.diagonal(factor)
    for index, start in enumerate(range(0, inner, group)):
        end = start + group
        columns, errors = weight[:, start:end], np.empty((rows, group), np.float32)
        # An error of a column costs this, when later columns take their part of it.
        scale, zero = fit(columns, 1 / np.square(diagonal[start:end]))
        for column, place in enumerate(range(start, end)):
            step = np.rint(columns[:, column] / scale).clip(-zero, LEVELS - zero)
            codes[:, place] = step + zero
            errors[:, column] = (columns[:, column] - step * scale) / diagonal[place]
            columns[:, column + 1 :] -= np.outer(errors[:, column], factor[place, place + 1 : end])
        weight[:, end:] -= errors @ factor[start:end, end:]
        scales[:, index], zeros[:, index] = scale, zero
    return codes, zeros, scales


def fit(weight: FloatArray, importance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The scale (an fp16 number) and the zero point of each row of one group [rows, size], float32 [rows].

    importance: [size], what the squared error of each column counts.
    """
    found = search(weight, importance, _tries(weight))
    return found.scales.clip(_SMALLEST, _LARGEST).astype(np.float16).astype(np.float32), found.zeros


def _tries(weight: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Scales and zero points for ranges around that of the weights and zero."""
    low, high = np.minimum(weight.min(axis=1), 0), np.maximum(weight.max(axis=1), 0)
    full = np.maximum((high - low) / LEVELS, _SMALLEST)
    for stretch in _STRETCHES:
        scale = full * stretch
        middle = np.rint((LEVELS - (high + low) / scale) / 2)
        for shift in (-1, 0, 1):
            yield scale, (middle + shift).clip(0, LEVELS)
