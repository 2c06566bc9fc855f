"""What OpenAI's chat and completions stream alike: chunks of choices, then `[DONE]`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from slipway.contract.errors import SlipwayError
from slipway.contract.generation import GenerationRequest
from slipway.gateway.query import Query
from slipway.gateway.shapes.error import error_body
from slipway.gateway.shapes.reply import COMMENT, DONE, Head, TextEvent, event
from slipway.gateway.shapes.usage import Usage


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

    @abstractmethod
    def place(self, index: int) -> bytes:
        """The chunk of the answer `index` whose text is `TextEvent.PLACE`."""

    @abstractmethod
    def last(self, usage: Usage) -> bytes:
        """The chunk that has no choices."""

    def text(self, index: int, text: str) -> bytes:
        """The chunk that adds a text, and nothing else, to the answer `index`."""
        if index not in self._texts:
            self._texts[index] = TextEvent(self.place(index))
        return self._texts[index].of(text)

    def so_far(self, index: int, tokens: int = 0) -> Usage | None:
        """The usage of the answer `index` with `tokens` more, where chunks report it."""
        if not self.prompts:
            return None
        self._tokens[index] = self._tokens.get(index, 0) + tokens
        return Usage.of(self.prompts[index], self._tokens[index], [])

    def closing(self, usage: Usage) -> bytes:
        """The last chunk, where the client asked for usage, and the mark of the end."""
        return (self.last(usage) if self.with_usage else b"") + DONE

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
