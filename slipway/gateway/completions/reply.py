"""The answers of POST /v1/completions: one body, or a stream of chunks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from slipway.gateway.answers.answer import Answer, Piece
from slipway.gateway.answers.interpretation import Finish
from slipway.gateway.shapes.chunks import Chunks
from slipway.gateway.shapes.log_probs import CompletionLogProbs
from slipway.gateway.shapes.reply import TextEvent, event, only_text
from slipway.gateway.shapes.usage import Usage
from slipway.text.parts import AnswerText


class CompletionChoice(BaseModel):
    """One answer of a plain completion, or what one chunk adds to it."""

    index: int
    text: str
    logprobs: CompletionLogProbs | None
    finish_reason: Finish | None


class Completion(BaseModel):
    """The response of POST /v1/completions, or one event of its stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None


@dataclass(slots=True)
class CompletionReply(Chunks):
    """The shapes of /v1/completions, where an answer is all text.

    echoes: the prompt before each answer; empty unless the client asked for it.
    """

    echoes: Sequence[str] = ()

    def body(self, answers: Sequence[Answer], usage: Usage) -> Completion:
        """The body of answers that are not streamed."""
        choices = [
            self._choice(
                index, echo + answer.text, answer.finish_reason, CompletionLogProbs.of(answer.chosen)
            )
            for index, (echo, answer) in enumerate(
                zip(self.echoes or [""] * len(answers), answers, strict=True)
            )
        ]
        return self._shape(choices).model_copy(update={"usage": usage})

    def opening(self, count: int) -> bytes:
        """The prompts, where they are echoed."""
        return b"".join(
            self._event([self._choice(index, echo, None, None)], self.so_far(index))
            for index, echo in enumerate(self.echoes)
        )

    def piece(self, piece: Piece) -> bytes:
        """The chunks of a piece."""
        index, text = piece.index, only_text(piece)
        usage = self.so_far(index, piece.tokens)
        if text is not None and usage is None:
            return self.text(index, text)
        added: list[tuple[str, Finish | None]] = [
            (part.text, None) for part in piece.parts if isinstance(part, AnswerText)
        ]
        if piece.finish_reason is not None:
            added.append(("", piece.finish_reason))
        # The log-probabilities of all tokens of the piece go with its first chunk.
        log_probs = [CompletionLogProbs.of(piece.chosen), *[None] * (len(added) - 1)]
        return b"".join(
            self._event([self._choice(index, text, finish, tokens)], usage)
            for (text, finish), tokens in zip(added, log_probs, strict=True)
        )

    def last(self, usage: Usage) -> bytes:
        """The chunk with the usage."""
        return self._event([], usage)

    def place(self, index: int) -> bytes:
        """A chunk whose text is `TextEvent.PLACE`."""
        return self._event([self._choice(index, TextEvent.PLACE, None, None)])

    def _choice(
        self, index: int, text: str, finish: Finish | None, log_probs: CompletionLogProbs | None
    ) -> CompletionChoice:
        return CompletionChoice(index=index, text=text, logprobs=log_probs, finish_reason=finish)

    def _event(self, choices: list[CompletionChoice], usage: Usage | None = None) -> bytes:
        chunk = self._shape(choices)
        return event(chunk.model_copy(update={"usage": usage}) if self.with_usage else chunk)

    def _shape(self, choices: list[CompletionChoice]) -> Completion:
        return Completion(
            id=self.head.id,
            object="text_completion",
            created=self.head.created,
            model=self.head.model,
            choices=choices,
        )
