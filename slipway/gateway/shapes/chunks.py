"""What OpenAI's chat and completions stream alike: chunks of choices, then `[DONE]`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from slipway.contract.errors import SlipwayError
from slipway.contract.generation import GenerationRequest
from slipway.gateway.answers.answer import Piece, reasoning_tokens
from slipway.gateway.answers.interpretation import Finish
from slipway.gateway.answers.log_probs import ChosenToken
from slipway.gateway.query import Query
from slipway.gateway.shapes.error import error_body
from slipway.gateway.shapes.reply import COMMENT, DONE, Head, TextEvent, event, only_text
from slipway.gateway.shapes.usage import Usage
from slipway.text.parts import AnswerReasoning, AnswerText, Part


@dataclass(slots=True)
class Chunks(ABC):
    """The part of a `Reply` that both endpoints share.

    with_usage: chunks have a `usage` field, null until the last.
    prompts: how many tokens the prompt of each answer has, where chunks report the usage so far; else empty.
    """

    head: Head
    with_usage: bool = False
    prompts: Sequence[int] = ()
    _texts: dict[int, TextEvent] = field(default_factory=dict, init=False)
    _tokens: dict[int, int] = field(default_factory=dict, init=False)
    _reasoning_tokens: int = field(default=0, init=False)

    @abstractmethod
    def choice(
        self, index: int, part: Part | None, finish: Finish | None = None, chosen: Sequence[ChosenToken] = ()
    ) -> BaseModel:
        """What one chunk adds to the answer `index`."""

    @abstractmethod
    def shape(self, choices: list[Any]) -> BaseModel:
        """A chunk, or a body, with these choices."""

    def chunk(self, choices: list[Any], usage: Usage | None = None) -> bytes:
        """The event of a chunk."""
        chunk = self.shape(choices)
        return event(chunk.model_copy(update={"usage": usage}) if self.with_usage else chunk)

    def piece(self, piece: Piece) -> bytes:
        """A chunk for each part of the piece, and one for the reason of the end."""
        index, text = piece.index, only_text(piece)
        usage = self.so_far(index, piece.tokens)
        if text is not None and usage is None:
            if index not in self._texts:
                self._texts[index] = TextEvent(self.chunk([self.choice(index, AnswerText(TextEvent.PLACE))]))
            return self._texts[index].of(text)
        self._reasoning_tokens += reasoning_tokens(piece)
        added: list[tuple[Part | None, Finish | None]] = [(part, None) for part in piece.parts]
        if piece.finish_reason is not None:
            added.append((None, piece.finish_reason))
        # The log-probabilities of all tokens of the piece go with the first chunk that is no reasoning.
        told = next((at for at, (part, _) in enumerate(added) if not isinstance(part, AnswerReasoning)), 0)
        return b"".join(
            self.chunk([self.choice(index, part, finish, piece.chosen if at == told else ())], usage)
            for at, (part, finish) in enumerate(added)
        )

    def so_far(self, index: int, tokens: int = 0) -> Usage | None:
        """The usage of the answer `index` with `tokens` more, where chunks report it."""
        if not self.prompts:
            return None
        self._tokens[index] = self._tokens.get(index, 0) + tokens
        return Usage.of(self.prompts[index], self._tokens[index], [])

    def closing(self, usage: Usage) -> bytes:
        """A chunk with the usage, where the client asked for it, and the mark of the end."""
        last = self.chunk([], usage.with_reasoning(self._reasoning_tokens)) if self.with_usage else b""
        return last + DONE

    def failure(self, error: SlipwayError) -> bytes:
        """The error as the last event."""
        return event(error_body(error))

    def keep_alive(self) -> bytes:
        """A comment."""
        return COMMENT


def prompt_lengths(query: Query, prompts: Sequence[GenerationRequest]) -> list[int]:
    """`Chunks.prompts` for the answers to a query."""
    if not query.continuous_usage:
        return []
    return [len(prompt.prompt_token_ids) for prompt in prompts for _ in range(query.n)]
