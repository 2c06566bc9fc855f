"""Rounding to 4 bits with feedback: as its authors describe it, and never worse than without."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from build.openvino import gptq

FloatArray = npt.NDArray[np.float32]


def _weight(out: int, inner: int, seed: int) -> FloatArray:
    return np.random.default_rng(seed).standard_t(5, (out, inner)).astype(np.float32)


def _hessian(inner: int, seed: int, tokens: int = 400) -> FloatArray:
    """Of activations that go together, with a few strong channels."""
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(tokens, inner)) @ random.normal(size=(inner, inner)) / np.sqrt(inner)
    x = (mixed + 0.3 * random.normal(size=(tokens, inner))) * random.uniform(0.2, 3, inner)
    return (x.T @ x).astype(np.float32)


def _error(restored: FloatArray, weight: FloatArray, hessian: FloatArray) -> float:
    """How much the outputs change, of their power."""
    off = (restored - weight).astype(np.float64)
    return float(((off @ hessian) * off).sum() / ((weight @ hessian) * weight).sum())


def _to_nearest(weight: FloatArray, group: int) -> FloatArray:
    """Each group's range in 16 steps, each weight to the nearest."""
    groups = weight.reshape(len(weight), -1, group)
    low, high = (np.clip(groups, *bounds) for bounds in ((None, 0), (0, None)))
    low, high = low.min(axis=2, keepdims=True), high.max(axis=2, keepdims=True)
    scale = np.maximum(high - low, np.finfo(np.float32).tiny) / 15
    zero = np.rint(-low / scale)
    return ((np.rint(groups / scale) + zero).clip(0, 15) - zero).reshape(weight.shape) * np.repeat(
        scale[..., 0], group, axis=1
    )


def _slowly(weight: FloatArray, hessian: FloatArray, group: int) -> FloatArray:
    """Optimal brain surgery, one column at a time: the inverse of the Hessian of what is left is updated."""
    power = np.diagonal(hessian).reshape(-1, group)
    order = [
        int(block * group + column)
        for block in np.argsort(-power.sum(axis=1))
        for column in np.argsort(-power[block])
    ]
    damped = hessian.astype(np.float64)
    damped += gptq.DAMPING * np.diagonal(damped).mean() * np.eye(len(damped))
    inverse, costs = np.linalg.inv(damped), {}
    for column in order:
        costs[column] = 1 / inverse[column, column]
        inverse -= np.outer(inverse[:, column], inverse[column]) / inverse[column, column]
    inverse, left = np.linalg.inv(damped), weight.astype(np.float64)
    restored = np.zeros_like(weight)
    for place, column in enumerate(order):
        if place % group == 0:
            columns = order[place : place + group]
            importance = np.array([costs[each] for each in columns])
            importance *= np.diagonal(hessian).mean()
            scale, zero = gptq.fit(left[:, columns].astype(np.float32), importance.astype(np.float32))
        restored[:, column] = ((np.rint(left[:, column] / scale) + zero).clip(0, 15) - zero) * scale
        off = (left[:, column] - restored[:, column]) / inverse[column, column]
        left -= np.outer(off, inverse[column])
        inverse -= np.outer(inverse[:, column], inverse[column]) / inverse[column, column]
    return restored


@pytest.mark.parametrize("seed", range(3))
def test_it_rounds_as_the_slow_way_does(seed: int) -> None:
    weight, hessian = _weight(20, 64, seed), _hessian(64, seed)
    restored = gptq.round_matrix(weight, hessian, 32).restored()
    # A scale may be the next fp16 number.
    np.testing.assert_allclose(restored, _slowly(weight, hessian, 32), rtol=2e-3)


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.floats(-4, 3), st.sampled_from([32, 64]))
def test_outputs_change_less_than_with_weights_rounded_to_the_nearest(
    seed: int, magnitude: float, group: int
) -> None:
    weight, hessian = _weight(24, 128, seed) * np.float32(10**magnitude), _hessian(128, seed)
    restored = gptq.round_matrix(weight, hessian, group).restored()
    assert _error(restored, weight, hessian) < _error(_to_nearest(weight, group), weight, hessian)


def test_what_calibration_says_about_channels_counts() -> None:
    weight, hessian = _weight(64, 192, 0), _hessian(192, 1)
    informed = gptq.round_matrix(weight, hessian, 64).restored()
    blind = gptq.round_matrix(weight, np.eye(192, dtype=np.float32), 64).restored()
    assert _error(informed, weight, hessian) < 0.8 * _error(blind, weight, hessian)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.floats(-9, 6))
def test_every_number_fits_its_type(seed: int, magnitude: float) -> None:
    random = np.random.default_rng(seed)
    weight = (random.standard_cauchy((5, 64)) * 10**magnitude).astype(np.float32)
    weight[2], weight[3] = 0, np.abs(weight[3])
    rounded = gptq.round_matrix(weight, _hessian(64, 0), 32)
    assert rounded.codes.shape == (5, 2, 32)
    assert rounded.zeros.shape == rounded.scales.shape == (5, 2)
    assert rounded.codes.max() <= 15
    assert rounded.zeros.max() <= 15
    assert np.isfinite(rounded.scales).all()
    assert (rounded.scales > 0).all()
    assert not rounded.restored()[2].any()


def test_channels_that_calibration_never_used_are_kept_too() -> None:
    weight, hessian = _weight(32, 64, 0), _hessian(64, 0)
    hessian[::2] = hessian[:, ::2] = 0
    for known in (hessian, np.zeros_like(hessian)):
        restored = gptq.round_matrix(weight, known, 32).restored()
        assert np.corrcoef(restored[:, ::2].ravel(), weight[:, ::2].ravel())[0, 1] > 0.97


def test_rows_do_not_depend_on_each_other() -> None:
    weight, hessian = _weight(600, 64, 0), _hessian(64, 0)
    together = gptq.round_matrix(weight, hessian, 32).restored()
    np.testing.assert_allclose(gptq.round_matrix(weight[:7], hessian, 32).restored(), together[:7], rtol=1e-3)
