"""Messages on a pipe: JSON behind its length.

JSON, because a process that a template or a grammar has taken over must not choose what its parent runs.
"""

import json
from typing import IO, Any

_LENGTH_BYTES = 8


def write_frame(pipe: IO[bytes], message: Any) -> None:
    """Send a message. Raises OSError when the reader is gone."""
    content = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
    pipe.write(len(content).to_bytes(_LENGTH_BYTES, "big") + content)
    pipe.flush()


def read_frame(pipe: IO[bytes]) -> Any:
    """The next message. Raises EOFError when the writer is gone, even in the middle of a message."""
    length = int.from_bytes(_read(pipe, _LENGTH_BYTES), "big")
    return json.loads(_read(pipe, length).decode("utf-8", "surrogatepass"))


def _read(pipe: IO[bytes], length: int) -> bytes:
    content = pipe.read(length)
    if len(content) < length:
        raise EOFError
    return content
