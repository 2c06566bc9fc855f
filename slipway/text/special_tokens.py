"""Keeps special tokens that a user spells out in a message from taking effect.

A user may write <|im_end|> into a message. Read as the token, it ends the user's turn, and the text behind it
can speak in any role. So each such name gets a mark before the template renders the message: the tokenizer
then reads the name as text. The mark's own tokens are removed from the prompt afterwards.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from slipway.text.tokenizer import Tokenizer

# Two characters for private use: no vocabulary has a token across them, and no user writes both.
_MARK = "\ue001\uf8fe"
_MARK_BYTES = _MARK.encode()
# The turn marks of DeepSeek have wide bars and are not special in its tokenizer.json. Other added tokens that
# are not special stay: blanks, <think>, and <tool_response>, which Qwen's agents write into the user's turn.
_BARRED = re.compile("<[|\uff5c].*[|\uff5c]>")
# Untrusted roles. The operator wrote the system turn, and the model the assistant's.
_UNTRUSTED = frozenset({"user", "tool"})


def turn_marks(tokenizer: Tokenizer) -> dict[int, str]:
    """The tokens that mark turns and sequences, by id."""
    added = tokenizer.encoder.get_added_tokens_decoder()
    return {
        index: token.content
        for index, token in added.items()
        if token.special or _BARRED.fullmatch(token.content)
    }


@dataclass(frozen=True, slots=True)
class SpecialTokenEscaper:
    """names: of the tokens that mark turns; None for a tokenizer without any."""

    tokenizer: Tokenizer
    names: re.Pattern[str] | None

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self:
        """For prompts that this tokenizer encodes."""
        names = sorted(turn_marks(tokenizer).values(), key=len, reverse=True)
        return cls(tokenizer, re.compile("|".join(map(re.escape, names))) if names else None)

    def escape(self, turns: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The turns, with a mark in each special token that a user or a tool spells out."""
        return [self._escape(turn) if turn["role"] in _UNTRUSTED else turn for turn in turns]

    def encode(self, prompt: str) -> tuple[str, list[int]]:
        """A rendered prompt and its token ids. The text is empty if encoding it again gives other ids."""
        ids = self.tokenizer.encode(prompt)
        return ("", self._without_marks(ids)) if _MARK in prompt else (prompt, ids)

    def _escape(self, turn: Mapping[str, Any]) -> Mapping[str, Any]:
        text = turn["content"]
        if self.names is None or self.names.search(text) is None:
            return turn
        return {**turn, "content": self.names.sub(_with_mark, text)}

    def _without_marks(self, ids: Sequence[int]) -> list[int]:
        kept: list[int] = []
        at = 0
        while at < len(ids):
            length = self._mark_at(ids, at)
            if not length:
                kept.append(ids[at])
            at += length or 1
        return kept

    def _mark_at(self, ids: Sequence[int], at: int) -> int:
        """How many tokens from `at` on form a mark; 0 if none do."""
        found = b""
        for end in range(at, min(at + len(_MARK_BYTES), len(ids))):
            found += self.tokenizer.vocabulary.join([ids[end]])
            if found == _MARK_BYTES:
                return end + 1 - at
            if not found or not _MARK_BYTES.startswith(found):
                return 0
        return 0


def _with_mark(name: re.Match[str]) -> str:
    return f"{name[0][0]}{_MARK}{name[0][1:]}"
