"""The tokens of one prompt, spelled as an answer's tokens are."""

from collections.abc import Sequence
from functools import cached_property

from slipway.text.tokenizer import Tokenizer, utf8_decoder


class PromptTokens:
    """ids: of the tokens."""

    def __init__(self, tokenizer: Tokenizer, ids: Sequence[int], text: str) -> None:
        """text: of the prompt, as the client sent it or as its tokens give it."""
        self.ids = ids
        self._tokenizer = tokenizer
        self._text = text
        self._spelled: dict[int, str] = {}

    def spell(self, token: int) -> str:
        """The text of a token inside a text, or its name."""
        if token not in self._spelled:
            self._spelled[token] = self._tokenizer.spell(token)
        return self._spelled[token]

    @property
    def words(self) -> list[str]:
        """The tokens' texts, else their names."""
        return self._placed[0]

    @property
    def offsets(self) -> list[int]:
        """The character of the prompt's text that each token begins in.

        A token that is not part of the text, such as the BOS that the tokenizer puts before it, has the
        offset of the next one.
        """
        return self._placed[1]

    @cached_property
    def _placed(self) -> tuple[list[str], list[int]]:
        text, vocabulary, decoder = self._text, self._tokenizer.vocabulary, utf8_decoder()
        words, offsets, at = [], [], 0
        for token in self.ids:
            word, piece = self.spell(token), decoder.decode(vocabulary.join_with_special([token]))
            if at == 0 and not text.startswith(piece):
                unpadded = self._tokenizer.unpadder().peek_start(piece)
                if text.startswith(unpadded):
                    word = piece = unpadded
            words.append(word)
            offsets.append(min(at, len(text)))
            if text.startswith(piece, at) or token not in vocabulary.special_bytes:
                at += len(piece)
        return words, offsets
