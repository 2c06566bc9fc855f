"""An answer in the shape of its endpoint, whole or in chunks; `gateway.app` makes one reply per request."""

import time
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import BaseModel

from gateway.answer import Whole
from gateway.responses import (
    AssistantMessage,
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatDelta,
    Completion,
    CompletionChoice,
    Finish,
    Usage,
)


@dataclass(frozen=True, slots=True)
class Head:
    """What every body and chunk of one answer repeats. created: seconds since 1970."""

    id: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))


class Reply(Protocol):
    """One endpoint's shapes.

    Fields that a shape leaves unset are left out of the JSON. `with_usage`: chunks have a `usage` field, null
    until the last.
    """

    def whole(self, answer: Whole, usage: Usage) -> BaseModel:
        """The body of an answer that is not streamed."""
        ...

    def opening(self) -> BaseModel | None:
        """The chunk before the first text, if the endpoint has one."""
        ...

    def text(self, text: str) -> BaseModel:
        """A chunk of text."""
        ...

    def finish(self, reason: Finish) -> BaseModel:
        """The chunk after the last text."""
        ...

    def usage(self, usage: Usage) -> BaseModel:
        """The chunk at the end, when the client asked for it."""
        ...


@dataclass(frozen=True, slots=True)
class ChatReply:
    """The shapes of /v1/chat/completions."""

    head: Head
    with_usage: bool = False

    def whole(self, answer: Whole, usage: Usage) -> ChatCompletion:
        """See `Reply.whole`."""
        message = AssistantMessage(role="assistant", content=answer.text, refusal=None)
        choice = ChatChoice(index=0, message=message, logprobs=None, finish_reason=answer.finish_reason)
        return ChatCompletion(
            id=self.head.id,
            object="chat.completion",
            created=self.head.created,
            model=self.head.model,
            choices=[choice],
            usage=usage,
        )

    def opening(self) -> ChatCompletionChunk:
        """See `Reply.opening`: the role, so that a client can show at once that an answer is coming."""
        return self._chunk(ChatDelta(role="assistant", content=""))

    def text(self, text: str) -> ChatCompletionChunk:
        """See `Reply.text`."""
        return self._chunk(ChatDelta(content=text))

    def finish(self, reason: Finish) -> ChatCompletionChunk:
        """See `Reply.finish`."""
        return self._chunk(ChatDelta(), reason)

    def usage(self, usage: Usage) -> ChatCompletionChunk:
        """See `Reply.usage`."""
        return self._shape([], usage)

    def _chunk(self, delta: ChatDelta, finish: Finish | None = None) -> ChatCompletionChunk:
        return self._shape([ChatChunkChoice(index=0, delta=delta, logprobs=None, finish_reason=finish)], None)

    def _shape(self, choices: list[ChatChunkChoice], usage: Usage | None) -> ChatCompletionChunk:
        chunk = ChatCompletionChunk(
            id=self.head.id,
            object="chat.completion.chunk",
            created=self.head.created,
            model=self.head.model,
            choices=choices,
        )
        return chunk.model_copy(update={"usage": usage}) if self.with_usage else chunk


@dataclass(frozen=True, slots=True)
class CompletionReply:
    """The shapes of /v1/completions."""

    head: Head
    with_usage: bool = False

    def whole(self, answer: Whole, usage: Usage) -> Completion:
        """See `Reply.whole`."""
        return self._shape([self._choice(answer.text, answer.finish_reason)]).model_copy(
            update={"usage": usage}
        )

    def opening(self) -> None:
        """See `Reply.opening`: there is no role to tell."""

    def text(self, text: str) -> Completion:
        """See `Reply.text`."""
        return self._chunk([self._choice(text)])

    def finish(self, reason: Finish) -> Completion:
        """See `Reply.finish`."""
        return self._chunk([self._choice("", reason)])

    def usage(self, usage: Usage) -> Completion:
        """See `Reply.usage`."""
        return self._chunk([], usage)

    def _choice(self, text: str, finish: Finish | None = None) -> CompletionChoice:
        return CompletionChoice(index=0, text=text, logprobs=None, finish_reason=finish)

    def _chunk(self, choices: list[CompletionChoice], usage: Usage | None = None) -> Completion:
        chunk = self._shape(choices)
        return chunk.model_copy(update={"usage": usage}) if self.with_usage else chunk

    def _shape(self, choices: list[CompletionChoice]) -> Completion:
        return Completion(
            id=self.head.id,
            object="text_completion",
            created=self.head.created,
            model=self.head.model,
            choices=choices,
        )
