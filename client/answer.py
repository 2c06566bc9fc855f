"""One streamed answer: printed and timed as it arrives."""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TextIO

from client.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class StreamedAnswer:
    """An answer, complete or stopped.

    output_tokens: the server's count; None when the answer was stopped before it.
    ttft_s: seconds from the request to the first text; None without text. e2e_s: to the last text.
    finish_reason: the server's, or None when the user stopped the answer.
    """

    text: str
    output_tokens: int | None
    ttft_s: float | None
    e2e_s: float
    finish_reason: str | None

    def summary(self) -> str:
        """One line: tokens, decoding speed, time to the first token, and why the answer ended early."""
        parts = []
        if self.output_tokens is not None:
            parts.append(f"{self.output_tokens} token{'' if self.output_tokens == 1 else 's'}")
            if self.ttft_s is not None and self.output_tokens > 1 and self.e2e_s > self.ttft_s:
                parts.append(f"{(self.output_tokens - 1) / (self.e2e_s - self.ttft_s):.1f} tokens/s")
        if self.ttft_s is not None:
            parts.append(f"first token after {self.ttft_s:.2f} s")
        match self.finish_reason:
            case None:
                parts.append("stopped by you")
            case "length":
                parts.append("cut off at the token limit")
        return " · ".join(parts)


def stream_answer(endpoint: Endpoint, messages: Sequence[Mapping[str, str]], out: TextIO) -> StreamedAnswer:
    """Request the next answer of a conversation, write its text to `out` as it arrives, and return it.

    Ctrl-C ends the answer, not the program.
    Raises ServerError.
    """
    pieces: list[str] = []
    output_tokens = ttft_s = finish_reason = None
    started = last = time.perf_counter()
    try:
        with closing(endpoint.stream(messages)) as chunks:
            for chunk in chunks:
                if chunk.text:
                    last = time.perf_counter()
                    ttft_s = ttft_s if pieces else last - started
                    pieces.append(chunk.text)
                    out.write(chunk.text)
                    out.flush()
                finish_reason = chunk.finish_reason or finish_reason
                output_tokens = chunk.output_tokens or output_tokens
    except KeyboardInterrupt:
        finish_reason = None
    if pieces:
        out.write("\n")
        out.flush()
    return StreamedAnswer("".join(pieces), output_tokens, ttft_s, last - started, finish_reason)
