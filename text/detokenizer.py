"""Token ids to text while they arrive; one Detokenizer per answer, used by every backend's stream."""

import codecs
from collections.abc import Iterable

from text.tokenizer import Tokenizer


class Detokenizer:
    """Turns a stream of token ids into a stream of whole characters.

    All pieces and the flush joined equal `Tokenizer.decode` of all ids. A character whose bytes are still
    incomplete is held back; it becomes U+FFFD only when the bytes that follow, or the end, make it invalid.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._vocabulary = tokenizer.vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._at_start = self._vocabulary.strips_first_space

    def push(self, ids: Iterable[int]) -> str:
        """The text that `ids` complete; may be empty."""
        return self._text(self._decoder.decode(self._vocabulary.join(ids)))

    def flush(self) -> str:
        """What is left at the end of the answer: empty, or U+FFFD for a cut character."""
        return self._text(self._decoder.decode(b"", final=True))

    def _text(self, text: str) -> str:
        if self._at_start and text:
            self._at_start = False
            return text.removeprefix(" ")
        return text
