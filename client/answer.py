"""One streamed answer: printed and timed as it arrives."""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console

from client.endpoint import Endpoint
from client.printer import AnswerPrinter


@dataclass(frozen=True, slots=True)
class StreamedAnswer:
    """An answer, complete or stopped.

    text: without its thoughts.
    output_tokens: the server's count, thoughts included; None when the answer was stopped before it.
    ttft_s: seconds from the request to the first text, thoughts included; None without text.
    first_word_s: likewise, to the first text that is no thought. e2e_s: to the last text.
    finish_reason: the server's, or None when the user stopped the answer.
    """

    text: str
    output_tokens: int | None
    ttft_s: float | None
    first_word_s: float | None
    e2e_s: float
    finish_reason: str | None

    def summary(self) -> str:
        """One line: tokens, decoding speed, times to the first token and word, and why it ended early."""
        parts = []
        if self.output_tokens is not None:
            parts.append(f"{self.output_tokens} token{'' if self.output_tokens == 1 else 's'}")
            if self.ttft_s is not None and self.output_tokens > 1 and self.e2e_s > self.ttft_s:
                parts.append(f"{(self.output_tokens - 1) / (self.e2e_s - self.ttft_s):.1f} tokens/s")
        if self.ttft_s is not None:
            parts.append(f"first token after {self.ttft_s:.2f} s")
            if self.first_word_s is None:
                parts.append("nothing but thoughts")
            elif self.first_word_s > self.ttft_s:
                parts.append(f"first word after {self.first_word_s:.2f} s")
        match self.finish_reason:
            case None:
                parts.append("stopped by you")
            case "length":
                parts.append("cut off at the token limit (--max-tokens)")
        return " · ".join(parts)


def stream_answer(
    endpoint: Endpoint, messages: Sequence[Mapping[str, str]], out: TextIO, notes: Console
) -> StreamedAnswer:
    """Request the next answer of a conversation, write it as it arrives, and return it.

    Its text goes to `out`, its thoughts to `notes`. Ctrl-C ends the answer, not the program.
    Raises ServerError.
    """
    words: list[str] = []
    output_tokens = ttft_s = first_word_s = finish_reason = None
    started = last = time.perf_counter()
    try:
        with closing(endpoint.stream(messages)) as chunks, AnswerPrinter(out, notes) as printer:
            for chunk in chunks:
                if chunk.thought or chunk.text:
                    last = time.perf_counter()
                    ttft_s = last - started if ttft_s is None else ttft_s
                if chunk.thought:
                    printer.thought(chunk.thought)
                if chunk.text:
                    first_word_s = first_word_s if words else last - started
                    words.append(chunk.text)
                    printer.word(chunk.text)
                finish_reason = chunk.finish_reason or finish_reason
                output_tokens = chunk.output_tokens or output_tokens
    except KeyboardInterrupt:
        finish_reason = None
    return StreamedAnswer("".join(words), output_tokens, ttft_s, first_word_s, last - started, finish_reason)
