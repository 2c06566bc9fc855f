"""The output tensors of one response of Triton, read without numpy, because they are small and frequent.

Triton's gRPC service sends each output as raw bytes, in the order of the outputs. Numbers are little-endian;
each string follows its length in four bytes (KServe's protocol, version 2).
"""

from array import array
from collections.abc import Iterator

from tritonclient.grpc import InferResult

from slipway.contract.errors import EngineFailed

_LENGTH_BYTES = 4


class OutputTensors:
    """Outputs by name. Each method raises EngineFailed for an output that the response lacks."""

    def __init__(self, result: InferResult) -> None:
        response = result.get_response()
        names = [output.name for output in response.outputs]
        self._raw: dict[str, bytes] = dict(zip(names, response.raw_output_contents, strict=False))

    def __contains__(self, name: str) -> bool:
        """Return whether the response has this output."""
        return name in self._raw

    def text(self, name: str) -> str:
        """Return the strings of a BYTES tensor, joined; a character may be split over two of them."""
        return b"".join(_strings(self._content(name))).decode()

    def integers(self, name: str) -> tuple[int, ...]:
        """Return the values of an INT32 tensor."""
        return tuple(memoryview(self._content(name)).cast("i"))

    def total(self, name: str) -> int:
        """Return the sum of an INT32 tensor."""
        return sum(self.integers(name))

    def any(self, name: str) -> bool:
        """Return whether any value of a BOOL tensor is true."""
        return any(self._content(name))

    def last(self, name: str, count: int) -> tuple[float, ...]:
        """Return the last `count` values of an FP32 tensor; `count` is 1 or more."""
        return tuple(array("f", self._content(name))[-count:])

    def _content(self, name: str) -> bytes:
        try:
            return self._raw[name]
        except KeyError:
            raise EngineFailed(f"Triton answered without the output {name}, which was requested.") from None


def _strings(content: bytes) -> Iterator[bytes]:
    end = 0
    while end < len(content):
        start = end + _LENGTH_BYTES
        end = start + int.from_bytes(content[end:start], "little")
        yield content[start:end]
