"""An answer on the terminal, as it arrives."""

from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.text import Text

STOP_HINT = "Ctrl-C stops the answer"


class AnswerPrinter:
    """Writes the words of one answer to `out`, and its thoughts to `notes`, dimmed.

    A context manager. Until the first text comes, `notes` says how to stop, where it is a terminal.
    """

    def __init__(self, out: TextIO, notes: Console) -> None:
        self._out, self._notes = out, notes
        self._waiting = notes.status(STOP_HINT)
        self._in_thoughts = self._has_words = False

    def __enter__(self) -> Self:
        self._waiting.start()
        return self

    def thought(self, text: str) -> None:
        """Write a piece of what the model thinks."""
        self._waiting.stop()
        if self._has_words and not self._in_thoughts:
            self._notes.print()
        self._in_thoughts = True
        self._notes.print(Text(text, style="dim"), end="")

    def word(self, text: str) -> None:
        """Write a piece of the answer."""
        self._waiting.stop()
        self._end_thoughts()
        self._has_words = True
        self._out.write(text)
        self._out.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.stop()
        self._end_thoughts()
        if self._has_words:
            self._out.write("\n")
            self._out.flush()

    def _end_thoughts(self) -> None:
        if self._in_thoughts:
            self._notes.print()
        self._in_thoughts = False
