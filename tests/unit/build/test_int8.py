"""The arithmetic of the int8 quantizer against NumPy, and that a row's numbers are its own."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from build.onnx import int8
from build.rounding import per_channel, smoothing

FloatArray = npt.NDArray[np.float32]
SHAPES = [(1, 8), (64, 96), (576, 192), (1000, 33), (4096, 64)]


def _quantized(weight: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """The nodes that take the place of one matrix [out, in], run by onnxruntime."""
    outputs, inputs = weight.shape
    node = helper.make_node("MatMulNBits", ["x"], ["y"], "/layer/o_proj/MatMul_Q8")
    quantized, scale = per_channel(weight)
    made = helper.make_graph(
        [*int8.activations("x"), *int8.product(node, "x")],
        "one matrix",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "new", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "new", outputs])],
        [
            *int8.constants(),
            numpy_helper.from_array(np.ascontiguousarray(quantized.T), int8.weight_name(node)),
            numpy_helper.from_array(scale, int8.scale_name(node)),
        ],
    )
    opsets = [helper.make_opsetid("", 22), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # exact without VNNI too, as served
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda x: np.asarray(session.run(["y"], {"x": x})[0])


def _expected(x: FloatArray, weight: FloatArray) -> FloatArray:
    """As the field describes it: absmax per row and per output, integers, both scales."""
    quantized, scale = per_channel(weight)
    peak = np.maximum(np.abs(x).max(axis=-1, keepdims=True), np.finfo(np.float32).tiny)
    integers = np.rint(x / peak / (np.float32(1) / np.float32(127))).astype(np.int64)
    return (integers @ quantized.T.astype(np.int64)) * (scale / np.float32(127)) * peak


def _random(*shape: int) -> FloatArray:
    return np.random.default_rng(sum(shape)).normal(0, 1, shape).astype(np.float32)


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_the_graph_computes_the_integers_that_numpy_does(inputs: int, outputs: int) -> None:
    weight, x = _random(outputs, inputs), _random(2, 3, inputs)
    np.testing.assert_allclose(_quantized(weight)(x), _expected(x, weight), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_the_largest_numbers_do_not_overflow(inputs: int, outputs: int) -> None:
    # All activations and weights at their extremes: kernels that add pairs in 16 bits would saturate.
    weight, x = np.ones((outputs, inputs), np.float32), np.full((1, 2, inputs), 1000, np.float32)
    np.testing.assert_allclose(_quantized(weight)(x), np.full((1, 2, outputs), 1000 * inputs), rtol=1e-5)


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_a_row_has_the_same_bits_alone_and_among_others(inputs: int, outputs: int) -> None:
    matrix, rows = _quantized(_random(outputs, inputs)), _random(16, 1, inputs)
    rows[5] *= 1e4  # a neighbour with other magnitudes
    together = matrix(rows)
    for count in (1, 2, 3, 7):
        for start in range(0, 16 - count, 3):
            alone = matrix(rows[start : start + count])
            np.testing.assert_array_equal(alone, together[start : start + count])
    np.testing.assert_array_equal(matrix(rows.reshape(1, 16, inputs))[0], together[:, 0])


def test_a_row_of_zeros_stays_zeros() -> None:
    x = np.zeros((2, 1, 64), np.float32)
    x[1] = 1
    y = _quantized(_random(96, 64))(x)
    assert not y[0].any()
    assert np.isfinite(y).all()


@given(st.integers(0, 2**32 - 1))
def test_a_weight_is_at_most_half_a_step_off(seed: int) -> None:
    random = np.random.default_rng(seed)
    weight = (random.standard_cauchy((9, 31)) * 10 ** random.uniform(-6, 3, (9, 1))).astype(np.float32)
    weight[4] = 0
    quantized, scale = per_channel(weight)
    assert np.abs(quantized.astype(int)).max() == 127
    assert (np.abs(quantized * scale[:, None] - weight) <= scale[:, None] * 0.50001).all()


def test_smoothing_changes_nothing_but_where_the_outliers_are() -> None:
    weights, x = [_random(20, 50), _random(30, 50)], _random(40, 50)
    x[:, 7] *= 300
    x[:, 9] = 0  # a channel that is never used
    scales = smoothing(np.abs(x).max(axis=0), weights, int8.SMOOTHING)
    for weight in weights:
        np.testing.assert_allclose((x / scales) @ (weight * scales).T, x @ weight.T, rtol=1e-3, atol=1e-2)
    peaks, smoothed = np.abs(x).max(axis=0), np.abs(x / scales).max(axis=0)
    assert smoothed.max() / np.median(smoothed) < peaks.max() / np.median(peaks) / 5


def test_smoothing_wins_back_what_outliers_cost() -> None:
    weight, x = _random(64, 576), _random(1, 32, 576)
    x[..., 11] *= 200
    exact = x @ weight.T
    scales = smoothing(np.abs(x[0]).max(axis=0), [weight], int8.SMOOTHING)
    plain = np.abs(_quantized(weight)(x) - exact).mean()
    smoothed = np.abs(_quantized(weight * scales)(x / scales) - exact).mean()
    assert smoothed < plain / 3


def test_activations_are_massive_where_a_few_leave_the_others_no_precision() -> None:
    x = _random(32, 576)
    assert not int8.Activations.of(x).massive
    x[0, 3] = 2000
    seen = int8.Activations.of(x)
    assert seen.massive
    assert seen.peaks.shape == (576,)
    assert seen.peaks[3] == 2000
