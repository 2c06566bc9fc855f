"""The decoder of a tokenizer.json: what its tokens and the ends of its texts mean."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from slipway.contract.errors import EngineRefused
from slipway.text.padding import NO_PADDING, Padding

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SENTENCEPIECE = {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}


@dataclass(frozen=True, slots=True)
class Decoder:
    """token_bytes: the bytes of a token of the model's vocabulary, as it stands inside a text.

    byte_level: a token's characters stand for bytes. padding: what the ends of a text lose.
    """

    token_bytes: Callable[[str], bytes]
    byte_level: bool
    padding: Padding

    @classmethod
    def read(cls, definition: Mapping[str, Any] | None) -> Self:
        """Read a tokenizer.json's decoder, with all its fields.

        Two families are known: byte-level BPE (Llama 3, Qwen2, deepseek-coder, SmolLM) and SentencePiece
        (Llama 2, Mistral). Metaspace takes one blank from a text, as `sentencepiece` does; `tokenizers` takes
        all blanks of the first token. Raises EngineRefused for another decoder.
        """
        steps = list(_steps(definition))
        kinds = [step["type"] for step in steps]
        if kinds == ["ByteLevel"]:
            return cls(_byte_level, True, NO_PADDING)
        if not kinds or not _SENTENCEPIECE.issuperset(kinds):
            raise _refused(f"{' + '.join(kinds) or 'none'}")
        blanks = dict(_blank(step) for step in steps if step["type"] in ("Replace", "Metaspace"))
        to_bytes = partial(_sentencepiece, blanks=blanks, byte_fallback="ByteFallback" in kinds)
        return cls(to_bytes, False, _padding(steps))


def _steps(definition: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """The decoders that run in turn."""
    if definition is None:
        return
    if definition["type"] == "Sequence":
        for child in definition["decoders"]:
            yield from _steps(child)
    else:
        yield definition


def _refused(found: str) -> EngineRefused:
    return EngineRefused(
        f"tokenizer.json has the decoder {found}; supported are ByteLevel, and SentencePiece's Metaspace or "
        "Replace with ByteFallback, Fuse and Strip."
    )


def _blank(step: Mapping[str, Any]) -> tuple[str, str]:
    """What stands for a blank, and the blank."""
    if step["type"] == "Metaspace":
        return step["replacement"], " "
    pattern = step["pattern"].get("String")
    if not pattern:
        raise _refused(f"Replace with the pattern {step['pattern']}")
    return pattern, step["content"]


def _padding(steps: list[Mapping[str, Any]]) -> Padding:
    """Strip works on the whole text where Fuse comes before it, and on each token elsewhere."""
    padding, fused = NO_PADDING, False
    for step in steps:
        if step["type"] == "Metaspace" and step["prepend_scheme"] != "never":
            padding = Padding(" ", padding.before + 1, padding.after)
        elif step["type"] == "Strip" and (step["start"] or step["stop"]):
            if not fused:
                raise _refused("Strip without Fuse before it")
            padding = Padding(step["content"], padding.before + step["start"], step["stop"])
        fused = fused or step["type"] == "Fuse"
    return padding


def byte_letters(data: bytes) -> str:
    """How a token of byte-level BPE is spelled: a letter for each byte."""
    return "".join([_LETTERS[byte] for byte in data])


def _letters() -> dict[int, str]:
    """GPT-2's printable stand-in for every byte (openai/gpt-2, encoder.py, bytes_to_unicode)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = sorted(set(range(256)).difference(printable))
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


_LETTERS = _letters()
_BYTES = {letter: byte for byte, letter in _LETTERS.items()}


def _byte_level(token: str) -> bytes:
    try:
        return bytes([_BYTES[character] for character in token])
    except KeyError:  # a token with other characters stands for itself
        return token.encode()


def _sentencepiece(token: str, blanks: Mapping[str, str], byte_fallback: bool) -> bytes:
    byte = _BYTE_TOKEN.fullmatch(token) if byte_fallback else None
    if byte:
        return bytes([int(byte[1], 16)])
    for mark, blank in blanks.items():
        token = token.replace(mark, blank)
    return token.encode()
