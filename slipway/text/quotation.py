"""Special tokens that somebody spelled out in a message, read as the text they are; used by `gateway`.

A user who writes <|im_end|> means these ten characters: read as the token, they end the user's turn, and what
follows speaks in whatever role it likes. So a mark is put into each before the template sees it, which keeps
the tokenizer from taking it for the token, and the mark's own tokens are taken out again.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from slipway.text.tokenizer import Tokenizer

# For private use, so that no vocabulary has a token that reaches over it, and nobody writes both.
_MARK = "\ue001\uf8fe"
_MARK_BYTES = _MARK.encode()
# Those of DeepSeek's turns are not special by its tokenizer.json, and have wide bars. Others that are not are
# left alone: blanks, <think>, and <tool_response>, which Qwen's own agents write into the turn of the user.
_BARRED = re.compile("<[|\uff5c].*[|\uff5c]>")
# Who may not speak in another's name. What the system and the assistant say, the operator wrote or the model.
_QUOTED = frozenset({"user", "tool"})


@dataclass(frozen=True, slots=True)
class Quotation:
    """names: of tokens that mark turns; None of a tokenizer that has none."""

    tokenizer: Tokenizer
    names: re.Pattern[str] | None

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self:
        """For prompts that this tokenizer reads."""
        added = tokenizer.encoder.get_added_tokens_decoder().values()
        marks = (token.content for token in added if token.special or _BARRED.fullmatch(token.content))
        names = sorted(marks, key=len, reverse=True)
        return cls(tokenizer, re.compile("|".join(map(re.escape, names))) if names else None)

    def marked(self, turns: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The turns with a mark in each special token that a user or a tool spells out."""
        return [self._marked(turn) if turn["role"] in _QUOTED else turn for turn in turns]

    def read(self, prompt: str) -> tuple[str, list[int]]:
        """A rendered prompt and its token ids; the prompt is empty where its text would be read otherwise."""
        ids = self.tokenizer.encode(prompt)
        return ("", self._without_marks(ids)) if _MARK in prompt else (prompt, ids)

    def _marked(self, turn: Mapping[str, Any]) -> Mapping[str, Any]:
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
        """How many tokens from `at` on are a mark; 0 where there is none."""
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
