"""Token ids to text, while they arrive."""

from collections.abc import Iterable

from slipway.text.tokenizer import Tokenizer, utf8_decoder


class Detokenizer:
    """Turns a stream of token ids into a stream of whole characters.

    All pieces joined, and unpadded where the text is one of its own, equal `Tokenizer.decode` of all ids. A
    character whose bytes are still incomplete is held back; it becomes U+FFFD only when the bytes that follow
    make it invalid.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._vocabulary = tokenizer.vocabulary
        self._decoder = utf8_decoder()

    def push(self, ids: Iterable[int]) -> str:
        """The text that `ids` complete; may be empty."""
        return self._decoder.decode(self._vocabulary.join(ids))
