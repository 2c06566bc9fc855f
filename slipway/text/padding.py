"""The blanks that a tokenizer puts around a text, and that decoding takes away again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Padding:
    """before, after: how many of `character` decoding takes from the start and the end of a text, at most."""

    character: str = " "
    before: int = 0
    after: int = 0


NO_PADDING = Padding()


class Unpadder:
    """Takes the padding from a text that arrives in pieces. Blanks that may be its end are held back."""

    def __init__(self, padding: Padding = NO_PADDING) -> None:
        self._character = padding.character
        self._before = padding.before
        self._after = padding.after
        self._held = ""

    def push(self, text: str) -> str:
        """The part of the text so far that is certain to stay and was not returned yet."""
        return self.push_start(text) if not self._after else self._without_end(self.push_start(text))

    def push_start(self, text: str) -> str:
        """`text`, the next piece, without padding before it. The padding at its end stays."""
        if not self._before or not text:
            return text
        kept = self.peek_start(text)
        rest = self._before + len(kept) - len(text)
        self._before = 0 if kept else rest
        return kept

    def peek_start(self, text: str) -> str:
        """What `push_start` would return; the text does not go on."""
        blanks = len(text) - len(text.lstrip(self._character))
        return text[min(self._before, blanks) :]

    def _without_end(self, text: str) -> str:
        text = self._held + text
        held = min(self._after, len(text) - len(text.rstrip(self._character)))
        self._held = text[len(text) - held :]
        return text[: len(text) - held]
