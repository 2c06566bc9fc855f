"""The bytes that each token stands for, read from a tokenizer.

Decoding by bytes makes streams exact and cheap: the text of any token sequence is the UTF-8 decode of its
joined bytes, so a stream only ever holds back its last, incomplete character.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

import tokenizers

from slipway.contract.errors import EngineRefused
from slipway.text.decoder import Decoder
from slipway.text.padding import NO_PADDING, Padding

# The markers of calls and reasoning in an answer. Whether a marker is a special token differs between
# checkpoints: Mistral's [TOOL_CALLS] is special, Qwen's <tool_call> is not. Decoding keeps the text, because
# the parsers of calls and reasoning need it.
_MARKERS = {"[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|python_tag|>"}
_MARKERS |= {"<tool_call>", "</tool_call>", "<think>", "</think>"}

# A table has a row for each id. The largest vocabularies have 262,144 tokens.
_MAX_ID = 4_000_000


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """token_bytes: by id, empty for unused ids and for special tokens other than the markers of calls and
    reasoning.

    special_bytes: by id, the names of those special tokens. padding: what the ends of a text lose.
    byte_level: the tokens of the model are spelled with a letter for each byte.
    """

    token_bytes: tuple[bytes, ...] = ()
    special_bytes: Mapping[int, bytes] = field(default_factory=dict)
    padding: Padding = NO_PADDING
    byte_level: bool = False

    @classmethod
    def read(cls, encoder: tokenizers.Tokenizer) -> Self:
        """Build the table. Raises EngineRefused when the decoder or the ids are of an unknown kind.

        An added token stands for its content: it is matched in the text itself. `tokenizers` reads its
        letters as bytes too, where the decoder is ByteLevel. SentencePiece's user-defined symbols are added
        tokens and tokens of the model, with the model's mark for blanks.
        """
        decoder = Decoder.read(encoder.decoder and json.loads(encoder.decoder.__getstate__()))
        model, added = encoder.model, encoder.get_added_tokens_decoder()
        ids = encoder.get_vocab(with_added_tokens=True)
        last = max(ids.values(), default=-1)
        if not 0 <= last <= _MAX_ID:
            raise EngineRefused(
                f"tokenizer.json has {len(ids)} tokens with ids up to {last}; the most is {_MAX_ID}."
            )
        table = [b""] * (last + 1)
        special: dict[int, bytes] = {}
        for token, index in ids.items():
            if index not in added:
                table[index] = decoder.token_bytes(token)
            elif added[index].special and token not in _MARKERS:
                special[index] = token.encode()
            elif decoder.byte_level or model.token_to_id(token) is None:
                table[index] = token.encode()
            else:
                table[index] = decoder.token_bytes(token)
        return cls(tuple(table), special, decoder.padding, decoder.byte_level)

    def join(self, ids: Iterable[int]) -> bytes:
        """The bytes of a token sequence; ids past the vocabulary (logits are padded) have none."""
        table = self.token_bytes
        return b"".join([table[index] for index in ids if index < len(table)])

    def join_with_special(self, ids: Iterable[int]) -> bytes:
        """The bytes of a token sequence, special tokens spelled out."""
        return b"".join([self.special_bytes.get(index) or self.join([index]) for index in ids])
