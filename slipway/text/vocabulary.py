"""The bytes that each token stands for, read from tokenizer.json.

Decoding by bytes makes streams exact and cheap: the text of any token sequence is the UTF-8 decode of its
joined bytes, so a stream only ever holds back its last, incomplete character.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from slipway.contract.errors import EngineRefused

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
# The markers of calls and reasoning in an answer. Whether a marker is a special token differs between
# checkpoints: Mistral's [TOOL_CALLS] is special, Qwen's <tool_call> is not. Decoding keeps the text, because
# the parsers of calls and reasoning need it.
_MARKERS = {"[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|python_tag|>"}
_MARKERS |= {"<tool_call>", "</tool_call>", "<think>", "</think>"}
_SENTENCEPIECE = {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """token_bytes: by id, empty for unused ids and for special tokens other than the markers of calls and
    reasoning.

    strips_first_space: SentencePiece puts a space before the first word and takes it away again.
    """

    token_bytes: tuple[bytes, ...]
    strips_first_space: bool

    @classmethod
    def read(cls, definition: Mapping[str, Any], ids: Mapping[str, int]) -> "Vocabulary":
        """Build the table from a parsed tokenizer.json and its token-to-id map (added tokens included).

        The supported architectures use two families: byte-level BPE (Llama 3, Qwen2, deepseek-coder, SmolLM)
        and SentencePiece BPE with byte fallback (Llama 2, Mistral). Raises EngineRefused for another decoder.
        """
        kinds = _kinds(definition.get("decoder"))
        to_bytes: Callable[[str], bytes]
        if kinds == ["ByteLevel"]:
            alphabet = _byte_level_alphabet()

            def to_bytes(token: str) -> bytes:
                return _byte_level(token, alphabet)
        elif "ByteFallback" in kinds and _SENTENCEPIECE.issuperset(kinds):
            to_bytes = _sentencepiece
        else:
            raise EngineRefused(
                f"tokenizer.json has the decoder {' + '.join(kinds) or 'none'}; "
                "supported are ByteLevel and SentencePiece with ByteFallback."
            )
        special = {
            token["id"]
            for token in definition.get("added_tokens", ())
            if token["special"] and token["content"] not in _MARKERS
        }
        table = [b""] * (max(ids.values()) + 1)
        for token, index in ids.items():
            if index not in special:
                table[index] = to_bytes(token)
        return cls(tuple(table), strips_first_space="Strip" in kinds or "Metaspace" in kinds)

    def join(self, ids: Iterable[int]) -> bytes:
        """The bytes of a token sequence; ids past the vocabulary (logits are padded) have none."""
        table = self.token_bytes
        return b"".join([table[index] for index in ids if index < len(table)])


def _kinds(decoder: Mapping[str, Any] | None) -> list[str]:
    if decoder is None:
        return []
    if decoder["type"] == "Sequence":
        return [kind for child in decoder["decoders"] for kind in _kinds(child)]
    return [str(decoder["type"])]


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in for every byte (openai/gpt-2, encoder.py, bytes_to_unicode), inverted."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = sorted(set(range(256)).difference(printable))
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(hidden)}


def _byte_level(token: str, alphabet: Mapping[str, int]) -> bytes:
    try:
        return bytes([alphabet[character] for character in token])
    except KeyError:  # an added token with characters outside the alphabet stands for itself
        return token.encode()


def _sentencepiece(token: str) -> bytes:
    byte = _BYTE_TOKEN.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode()
