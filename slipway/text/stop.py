"""Stop strings in a stream of text."""

from collections.abc import Sequence


class StopStrings:
    """Finds the first of several strings that a stream completes, however the text is split. One per answer.

    Text is held back only while it could still become a stop string. shown: whether the stop string itself is
    part of the text; it never is in part.
    """

    def __init__(self, stop: Sequence[str], shown: bool = False) -> None:
        self._stop = tuple(stop)
        self._shown = shown
        self._held = ""

    def push(self, text: str) -> tuple[str, str | None]:
        """The text that may be sent, and the stop string that ended it, if there is one."""
        pending = self._held + text
        # The one that is complete first, so that the split of the text does not matter.
        found = [(at + len(string), at, string) for string in self._stop if (at := pending.find(string)) >= 0]
        if found:
            self._held = ""
            end, start, string = min(found)
            return pending[: end if self._shown else start], string
        keep = max((_overlap(pending, string) for string in self._stop), default=0)
        self._held = pending[len(pending) - keep :]
        return pending[: len(pending) - keep], None

    def flush(self) -> str:
        """The text held back until the answer ended without a stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, string: str) -> int:
    """Length of the longest end of `text` that begins `string`."""
    for length in range(min(len(text), len(string) - 1), 0, -1):
        if text.endswith(string[:length]):
            return length
    return 0
