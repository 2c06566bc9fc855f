"""Outputs of Triton's responses are read as NVIDIA's client reads them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import InferResult, service_pb2

from slipway.contract.errors import EngineFailed
from slipway.gateway.backends.tensors import OutputTensors


def response(**tensors: tuple[str, np.ndarray]) -> InferResult:
    message = service_pb2.ModelInferResponse()
    for name, (datatype, values) in tensors.items():
        message.outputs.add(name=name, datatype=datatype, shape=values.shape)
        if datatype == "BYTES":
            content = b"".join(len(value).to_bytes(4, "little") + value for value in values)
        else:
            content = values.tobytes()
        message.raw_output_contents.append(content)
    return InferResult(message)


@given(
    st.lists(st.text(), max_size=4),
    st.lists(st.integers(-(2**20), 2**20), max_size=4),
    st.lists(st.booleans(), max_size=4),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=8),
    st.integers(1, 9),
)
def test_tensors_are_read_as_the_official_client_reads_them(
    texts: list[str], counts: list[int], flags: list[bool], log_probs: list[float], last: int
) -> None:
    result = response(
        text=("BYTES", np.array([text.encode() for text in texts], object)),
        counts=("INT32", np.array([counts], np.int32)),
        flags=("BOOL", np.array([flags], np.bool_)),
        log_probs=("FP32", np.array([[log_probs]], np.float32)),
    )
    tensors = OutputTensors(result)
    assert tensors.text("text") == "".join(texts)
    if texts:
        assert tensors.text("text") == b"".join(result.as_numpy("text").reshape(-1)).decode()
    assert tensors.total("counts") == int(result.as_numpy("counts").sum())
    assert tensors.any("flags") == bool(result.as_numpy("flags").any())
    assert tensors.last("log_probs", last) == tuple(result.as_numpy("log_probs").reshape(-1)[-last:].tolist())


def test_a_character_may_be_split_over_two_strings() -> None:
    halves = np.array(["가".encode()[:1], "가".encode()[1:]], object)
    assert OutputTensors(response(text=("BYTES", halves))).text("text") == "가"


def test_a_missing_output_is_named_in_the_error() -> None:
    with pytest.raises(EngineFailed, match="without the output output_log_probs"):
        OutputTensors(response()).last("output_log_probs", 1)
