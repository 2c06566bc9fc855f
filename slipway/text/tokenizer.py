"""A checkpoint's tokenizer, without transformers: the `tokenizers` library and the checkpoint's own files."""

import codecs
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import tokenizers

from slipway.contract.errors import EngineRefused
from slipway.text.added_tokens import with_added_tokens
from slipway.text.encoder import read_encoder
from slipway.text.padding import NO_PADDING, Unpadder
from slipway.text.vocabulary import Vocabulary

# A control character: no vocabulary has it together with others in one token.
_MARK = "\x02"
FILES = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """Text to token ids and back.

    special_tokens: by role as tokenizer_config.json has them: "bos_token", "eos_token", "pad_token", …
    """

    encoder: tokenizers.Tokenizer
    vocabulary: Vocabulary
    special_tokens: dict[str, str]

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read tokenizer.json and tokenizer_config.json.

        Raises EngineRefused when one is missing or unreadable, describes no tokenizer, or its decoder is of
        an unknown kind.
        """
        definition, config = (_read(directory / name) for name in FILES)
        try:
            return cls.of(with_added_tokens(definition, config), config)
        except EngineRefused as error:
            raise EngineRefused(f"{directory}: {error}") from None

    @classmethod
    def of(cls, definition: Mapping[str, Any], config: Mapping[str, Any]) -> Self:
        """From the parsed files. Raises EngineRefused for no tokenizer, or a decoder of an unknown kind."""
        encoder = read_encoder(definition)
        encoder.no_padding()
        encoder.no_truncation()
        return cls(
            encoder=encoder,
            vocabulary=Vocabulary.read(encoder),
            special_tokens={
                role: text
                for role, value in config.items()
                if role.endswith("_token")
                and isinstance(text := value.get("content") if isinstance(value, dict) else value, str)
            },
        )

    @property
    def bos_token(self) -> str | None:
        """The text of the beginning-of-sequence token."""
        return self.special_tokens.get("bos_token")

    @property
    def bos_token_id(self) -> int | None:
        """The id of the beginning-of-sequence token."""
        return None if self.bos_token is None else self.encoder.token_to_id(self.bos_token)

    @property
    def eos_token(self) -> str | None:
        """The text of the end-of-sequence token."""
        return self.special_tokens.get("eos_token")

    @property
    def eos_token_id(self) -> int | None:
        """The id of the end-of-sequence token."""
        return None if self.eos_token is None else self.encoder.token_to_id(self.eos_token)

    @property
    def vocab_size(self) -> int:
        """Number of token ids, added tokens included."""
        return len(self.vocabulary.token_bytes)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Token ids of `text`; special tokens spelled out in it are recognized.

        The special tokens that the tokenizer puts around a text (BOS, as a rule) are added unless the text
        begins with BOS already, so a rendered chat template never gets two.
        """
        has_bos = self.bos_token is not None and text.startswith(self.bos_token)
        # The batch call releases Python's lock, so a long prompt in a thread blocks no other thread; without
        # offsets it is also faster than `encode`.
        (encoding,) = self.encoder.encode_batch_fast(
            [text], add_special_tokens=add_special_tokens and not has_bos
        )
        return encoding.ids

    def encode_inside(self, text: str) -> list[int]:
        """Token ids of `text` inside a longer one: without special tokens around it or padding before it."""
        if not self.vocabulary.padding.before:
            return self.encode(text, add_special_tokens=False)
        ids = self.encode(_MARK + text, add_special_tokens=False)
        return ids[self._after_mark(ids) :]

    def _after_mark(self, ids: Sequence[int]) -> int:
        """How many of the first tokens are the mark and the padding before it."""
        mark = _MARK.encode()
        return next((at for at in (1, 2) if self.vocabulary.join(ids[:at]).endswith(mark)), 0)

    def spell(self, token_id: int) -> str:
        """One token inside a text: its text, or the name of a token without text (special tokens)."""
        data = self.vocabulary.join([token_id])
        return spelled(data) if data else self.encoder.id_to_token(token_id) or f"token_id:{token_id}"

    def entries(self, ids: Iterable[int]) -> list[str]:
        """Each token as the vocabulary writes it: "ĠParis" or "▁Paris" where its text is " Paris"."""
        return [self.encoder.id_to_token(each) or "" for each in ids]

    def text(self, ids: Iterable[int]) -> str:
        """The text of `ids`, with special tokens spelled out as `encode` reads them."""
        text = self.vocabulary.join_with_special(ids).decode(errors="replace")
        return self.unpadder().push(text)

    def decode(self, ids: Iterable[int], before: Iterable[int] = ()) -> str:
        """Text of `ids` after the tokens `before`; of special tokens, those that mark calls and reasoning.

        Invalid bytes become U+FFFD. An incomplete last character, where the answer was cut at its length,
        is left out.
        """
        return self.unpadder(before).push(utf8_decoder().decode(self.vocabulary.join(ids)))

    def unpadder(self, before: Iterable[int] = ()) -> Unpadder:
        """For the text that comes after the tokens `before`; without them, for a text of its own.

        The texts of both joined then equal the text of all tokens.
        """
        padding = self.vocabulary.padding
        unpadder = Unpadder(padding)
        if padding != NO_PADDING:
            unpadder.push(self.vocabulary.join(before).decode(errors="replace"))
        return unpadder


def spelled(data: bytes) -> str:
    r"""Text. Bytes that are not whole characters are spelled as OpenAI's API does: bytes:\xed\x95."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def utf8_decoder() -> codecs.IncrementalDecoder:
    """Bytes to whole characters; the bytes of an incomplete one are kept for the next call."""
    return codecs.getincrementaldecoder("utf-8")(errors="replace")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EngineRefused(f"{path} is missing; build the engine again.") from None
    except OSError as error:
        raise EngineRefused(f"{path} cannot be read ({error.strerror}); copy or build it again.") from None
    except (ValueError, RecursionError) as error:
        raise EngineRefused(f"{path} is damaged ({error}); build the engine again.") from None
