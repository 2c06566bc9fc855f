"""The vocabulary of an engine in the form in which llguidance takes one from Python."""

from functools import cached_property, lru_cache

from slipway.text.tokenizer import Tokenizer

# Parts of answers whose tokens are cached, some hundred bytes each.
_KEPT = 4096


class TokenBytes:
    """The tokens by id, with the bytes that make the text of an answer. Its attributes are llguidance's.

    Special tokens have no text, so only a grammar that names one allows it. An id without a token has no
    bytes, so no grammar allows it.
    """

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        """vocab_size: columns of the logits, which may be more than tokens."""
        vocabulary = tokenizer.vocabulary
        self.tokens = [*vocabulary.token_bytes, *[b""] * (vocab_size - len(vocabulary.token_bytes))]
        for index, name in vocabulary.special_bytes.items():
            self.tokens[index] = name
        self.special_token_ids = list(vocabulary.special_bytes)
        # For an engine without an end of sequence: llguidance needs one, and this one has no text.
        self.eos_token_id = min(self.special_token_ids, default=vocab_size - 1)
        self._tokenizer = tokenizer
        # Every answer under a schema asks for the same parts.
        self._ids = lru_cache(_KEPT)(self._encoded)

    def __call__(self, data: bytes) -> list[int]:
        """The tokens of a part of an answer: those that the model was trained with, if they are its bytes."""
        return self._ids(data)

    def _encoded(self, data: bytes) -> list[int]:
        ids = self._tokenizer.encode_inside(data.decode())
        return ids if self._tokenizer.vocabulary.join(ids) == data else self._longest(data)

    def _longest(self, data: bytes) -> list[int]:
        """From the start on, each time the longest token; up to the first byte that no token begins with."""
        ids: list[int] = []
        while data:
            lengths = range(min(len(data), self._max_length), 0, -1)
            length = next((length for length in lengths if data[:length] in self._by_bytes), 0)
            if not length:
                break
            ids.append(self._by_bytes[data[:length]])
            data = data[length:]
        return ids

    @cached_property
    def _by_bytes(self) -> dict[bytes, int]:
        return {each: index for index, each in enumerate(self._tokenizer.vocabulary.token_bytes)}

    @cached_property
    def _max_length(self) -> int:
        return max(map(len, self._by_bytes))
