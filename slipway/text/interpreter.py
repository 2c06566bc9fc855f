"""An answer told apart into reasoning, text and calls while it streams; `gateway` makes one per answer."""

from slipway.text.parts import Part, Text, joined
from slipway.text.reasoning import ReasoningSplitter
from slipway.text.tool_calls.base import ToolCallParser


class Interpreter:
    """Reasoning first, then calls in the rest; what a model only thinks of calling is not called.

    reasoning: None for a model that does not think in tags, and where a grammar binds the answer from its
    first character, so that nothing can be thought before. calls: None where no tools are offered.
    """

    def __init__(self, reasoning: ReasoningSplitter | None, calls: ToolCallParser | None) -> None:
        self._reasoning = reasoning
        self._calls = calls

    @property
    def whole_calls(self) -> bool:
        """Whether the arguments of every call that was told so far are complete."""
        return self._calls is None or self._calls.whole

    def push(self, text: str) -> list[Part]:
        """What `text` adds to the answer; may be nothing yet."""
        if self._reasoning is not None:
            return self._with_calls(self._reasoning.push(text))
        return self._with_calls([Text(text)] if text else [])

    def flush(self) -> list[Part]:
        """What was held back, when the answer ends."""
        parts = self._with_calls(self._reasoning.flush() if self._reasoning is not None else [])
        return joined([*parts, *(self._calls.flush() if self._calls is not None else [])])

    def _with_calls(self, parts: list[Part]) -> list[Part]:
        if self._calls is None:
            return parts
        read: list[Part] = []
        for part in parts:
            read += self._calls.push(part.text) if isinstance(part, Text) else [part]
        return read
