"""The int4 quantizer: what it stores is what onnxruntime computes, and it errs least where it counts."""

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from build.onnx import int4

FloatArray = npt.NDArray[np.float32]


def _random(*shape: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).standard_t(5, shape).astype(np.float32)


def _restored(weight: FloatArray, power: FloatArray) -> FloatArray:
    quantized, scales = int4.blocks(weight, power)
    restored = (quantized.astype(np.float32) - 8) * scales[..., None]
    return restored.reshape(len(weight), -1)[:, : weight.shape[1]]


def _to_nearest(weight: FloatArray) -> FloatArray:
    """What the builder does: the largest of 32 weights just fits, all others are rounded."""
    blocks = weight.reshape(len(weight), -1, 32)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1, keepdims=True), -1)
    return (np.clip(np.rint(blocks / (largest / -8)), -8, 7) * (largest / -8)).reshape(weight.shape)


@pytest.mark.parametrize(("inputs", "outputs"), [(64, 96), (576, 192), (1536, 33), (80, 24)])
def test_onnxruntime_computes_with_the_weights_that_were_stored(inputs: int, outputs: int) -> None:
    weight, power = _random(outputs, inputs), np.square(_random(inputs, seed=1))
    quantized, scales = int4.blocks(weight, power)
    node = helper.make_node(
        "MatMulNBits",
        ["x", "weight", "scale"],
        ["y"],
        domain="com.microsoft",
        K=inputs,
        N=outputs,
        bits=4,
        block_size=32,
        accuracy_level=4,
    )
    made = helper.make_graph(
        [node],
        "one matrix",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", outputs])],
        [
            numpy_helper.from_array(int4.pack(quantized), "weight"),
            numpy_helper.from_array(scales, "scale"),
        ],
    )
    opsets = [helper.make_opsetid("", 22), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = _random(5, inputs, seed=2)
    expected = x @ _restored(weight, power).T
    computed = session.run(["y"], {"x": x})[0]
    assert np.abs(computed - expected).max() < 0.02 * np.abs(expected).max()  # activations in 8 bits


@pytest.mark.parametrize("seed", range(3))
def test_outputs_err_less_than_with_weights_rounded_to_the_nearest(seed: int) -> None:
    weight, x = _random(96, 576, seed=seed), _random(200, 576, seed=seed + 10)
    even = np.square(x).mean(axis=0)
    x[:, ::32] *= 30  # a channel in each block that counts more than all others
    power = np.square(x).mean(axis=0)

    def error(restored: FloatArray) -> float:
        return float(np.linalg.norm(x @ (restored - weight).T) / np.linalg.norm(x @ weight.T))

    assert error(_restored(weight, power)) < 0.6 * error(_to_nearest(weight))
    assert error(_restored(weight, power)) < 0.8 * error(_restored(weight, even))


@given(st.integers(0, 2**32 - 1), st.floats(-8, 3))
def test_no_matrix_is_further_off_than_rounded_to_the_nearest(seed: int, magnitude: float) -> None:
    random = np.random.default_rng(seed)
    weight = (random.standard_cauchy((6, 64)) * 10**magnitude).astype(np.float32)
    power = np.ones(64, np.float32)
    restored = _restored(weight, power)
    assert np.square(restored - weight).sum() <= np.square(_to_nearest(weight) - weight).sum() * 1.001


def test_zeros_stay_zeros() -> None:
    assert not _restored(np.zeros((3, 64), np.float32), np.ones(64, np.float32)).any()


def test_channels_that_calibration_never_used_are_kept_too() -> None:
    weight = _random(32, 64)
    restored = _restored(weight, np.zeros(64, np.float32))
    assert np.corrcoef(restored.ravel(), weight.ravel())[0, 1] > 0.98
