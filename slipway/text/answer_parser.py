"""Splits a streamed answer into reasoning, text and tool calls."""

from slipway.text.parts import AnswerText, Part, merged
from slipway.text.reasoning import ReasoningSplitter
from slipway.text.tool_calls.base import ToolCallParser


class AnswerParser:
    """Splits off the reasoning first, then looks for calls in the rest; a call inside reasoning is no call.

    reasoning: None for a model that does not think in tags. Also None where a grammar binds the answer from
        its first character, because such an answer has no reasoning.
    calls: None where the request offers no tools.
    """

    def __init__(self, reasoning: ReasoningSplitter | None, calls: ToolCallParser | None) -> None:
        self._reasoning = reasoning
        self._calls = calls

    @property
    def calls_complete(self) -> bool:
        """Whether the arguments of every call so far are complete."""
        return self._calls is None or self._calls.complete

    @property
    def answer_start(self) -> int | None:
        """How many characters of reasoning and its tags come before the answer; None before it begins."""
        return 0 if self._reasoning is None else self._reasoning.answer_start

    def push(self, text: str) -> list[Part]:
        """What `text` adds to the answer; may be empty."""
        if self._reasoning is not None:
            return self._with_calls(self._reasoning.push(text))
        return self._with_calls([AnswerText(text)] if text else [])

    def flush(self) -> list[Part]:
        """The text held back until the answer ended."""
        parts = self._with_calls(self._reasoning.flush() if self._reasoning is not None else [])
        return merged([*parts, *(self._calls.flush() if self._calls is not None else [])])

    def _with_calls(self, parts: list[Part]) -> list[Part]:
        if self._calls is None:
            return parts
        read: list[Part] = []
        for part in parts:
            read += self._calls.push(part.text) if isinstance(part, AnswerText) else [part]
        return read
