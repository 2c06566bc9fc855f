"""Answers in the shape of their endpoint, whole or in chunks; `gateway.app` makes one reply per request."""

import time
from collections.abc import Sequence
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
    """What every body and chunk for one request repeats. created: seconds since 1970."""

    id: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))


class Reply(Protocol):
    """One endpoint's shapes. index: which of the request's answers a chunk belongs to.

    Fields that a shape leaves unset are left out of the JSON. `with_usage`: chunks have a `usage` field, null
    until the last.
    """

    def whole(self, answers: Sequence[Whole], usage: Usage) -> BaseModel:
        """The body of answers that are not streamed."""
        ...

    def opening(self, index: int) -> BaseModel | None:
        """The chunk before the first text, if the endpoint has one."""
        ...

    def text(self, index: int, text: str) -> BaseModel:
        """A chunk of text."""
        ...

    def finish(self, index: int, reason: Finish) -> BaseModel:
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

    def whole(self, answers: Sequence[Whole], usage: Usage) -> ChatCompletion:
        """See `Reply.whole`."""
        choices = [
            ChatChoice(
                index=index,
                message=AssistantMessage(role="assistant", content=answer.text, refusal=None),
                logprobs=None,
                finish_reason=answer.finish_reason,
            )
            for index, answer in enumerate(answers)
        ]
        return ChatCompletion(
            id=self.head.id,
            object="chat.completion",
            created=self.head.created,
            model=self.head.model,
            choices=choices,
            usage=usage,
        )

    def opening(self, index: int) -> ChatCompletionChunk:
        """See `Reply.opening`: the role, so that a client can show at once that an answer is coming."""
        return self._chunk(index, ChatDelta(role="assistant", content=""))

    def text(self, index: int, text: str) -> ChatCompletionChunk:
        """See `Reply.text`."""
        return self._chunk(index, ChatDelta(content=text))

    def finish(self, index: int, reason: Finish) -> ChatCompletionChunk:
        """See `Reply.finish`."""
        return self._chunk(index, ChatDelta(), reason)

    def usage(self, usage: Usage) -> ChatCompletionChunk:
        """See `Reply.usage`."""
        return self._shape([], usage)

    def _chunk(self, index: int, delta: ChatDelta, finish: Finish | None = None) -> ChatCompletionChunk:
        choice = ChatChunkChoice(index=index, delta=delta, logprobs=None, finish_reason=finish)
        return self._shape([choice], None)

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

    def whole(self, answers: Sequence[Whole], usage: Usage) -> Completion:
        """See `Reply.whole`."""
        choices = [
            self._choice(index, answer.text, answer.finish_reason) for index, answer in enumerate(answers)
        ]
        return self._shape(choices).model_copy(update={"usage": usage})

    def opening(self, index: int) -> None:
        """See `Reply.opening`: there is no role to tell."""

    def text(self, index: int, text: str) -> Completion:
        """See `Reply.text`."""
        return self._chunk([self._choice(index, text)])

    def finish(self, index: int, reason: Finish) -> Completion:
        """See `Reply.finish`."""
        return self._chunk([self._choice(index, "", reason)])

    def usage(self, usage: Usage) -> Completion:
        """See `Reply.usage`."""
        return self._chunk([], usage)

    def _choice(self, index: int, text: str, finish: Finish | None = None) -> CompletionChoice:
        return CompletionChoice(index=index, text=text, logprobs=None, finish_reason=finish)

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
