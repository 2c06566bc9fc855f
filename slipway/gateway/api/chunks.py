"""What OpenAI's two older APIs stream alike: chunks of choices, then `[DONE]`; used by their replies."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from slipway.contract.errors import SlipwayError
from slipway.gateway.api.reply import COMMENT, DONE, Head, TextEvent, event
from slipway.gateway.api.usage import Usage
from slipway.gateway.errors import error_body


@dataclass(slots=True)
class Chunks(ABC):
    """A part of a `Reply`.

    with_usage: chunks have a `usage` field, null until the last.
    prompts: how many tokens the prompt of each answer has, where chunks tell the usage so far; else none.
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
        """The usage of the answer `index` with so many new tokens, where chunks tell it."""
        if not self.prompts:
            return None
        self._tokens[index] = self._tokens.get(index, 0) + tokens
        return Usage.of(self.prompts[index], self._tokens[index], [])

    def closing(self, usage: Usage) -> bytes:
        """See `Reply.closing`."""
        return (self.last(usage) if self.with_usage else b"") + DONE

    def failure(self, error: SlipwayError) -> bytes:
        """See `Reply.failure`."""
        return event(error_body(error))

    def keep_alive(self) -> bytes:
        """See `Reply.keep_alive`."""
        return COMMENT
