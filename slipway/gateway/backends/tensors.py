"""The tensors of one of Triton's responses, read without arrays: they are small and many; for `triton`.

Triton's gRPC service sends the content of each output as raw bytes, in the order of the outputs, numbers
little-endian, strings each after its length in four bytes (KServe's protocol, version 2).
"""

from array import array
from collections.abc import Iterator

from tritonclient.grpc import InferResult

from slipway.contract.errors import EngineFailed

_LENGTH_BYTES = 4


class Tensors:
    """Outputs by name. Raises EngineFailed for one that the response lacks."""

    def __init__(self, result: InferResult) -> None:
        response = result.get_response()
        names = [output.name for output in response.outputs]
        self._raw: dict[str, bytes] = dict(zip(names, response.raw_output_contents, strict=False))

    def __contains__(self, name: str) -> bool:
        """Whether the response has this output."""
        return name in self._raw

    def text(self, name: str) -> str:
        """All strings of a BYTES tensor, joined; a character may be cut between two of them."""
        return b"".join(_strings(self._content(name))).decode()

    def total(self, name: str) -> int:
        """The sum of an INT32 tensor."""
        return sum(memoryview(self._content(name)).cast("i"))

    def some(self, name: str) -> bool:
        """Whether any value of a BOOL tensor is true."""
        return any(self._content(name))

    def last(self, name: str, count: int) -> tuple[float, ...]:
        """The last `count` values of an FP32 tensor; `count` is 1 or more."""
        return tuple(array("f", self._content(name))[-count:])

    def _content(self, name: str) -> bytes:
        try:
            return self._raw[name]
        except KeyError:
            raise EngineFailed(f"Triton answered without {name}, which the request asked for.") from None


def _strings(content: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(content):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(content[at:start], "little")
        yield content[start:at]
