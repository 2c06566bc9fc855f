"""The answers of POST /v1/completions: one body, or a stream of chunks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from slipway.gateway.answers.answer import Answer
from slipway.gateway.answers.interpretation import Finish
from slipway.gateway.answers.log_probs import ChosenToken
from slipway.gateway.shapes.chunks import Chunks
from slipway.gateway.shapes.log_probs import CompletionLogProbs
from slipway.gateway.shapes.usage import Usage
from slipway.text.parts import AnswerText, Part


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
        echoes = self.echoes or [""] * len(answers)
        choices = [
            self.choice(index, AnswerText(echo + answer.text), answer.finish_reason, answer.chosen)
            for index, (echo, answer) in enumerate(zip(echoes, answers, strict=True))
        ]
        return self.shape(choices).model_copy(update={"usage": usage})

    def opening(self, count: int) -> bytes:
        """The prompts, where they are echoed."""
        return b"".join(
            self.chunk([self.choice(index, AnswerText(echo))], self.so_far(index))
            for index, echo in enumerate(self.echoes)
        )

    def choice(
        self, index: int, part: Part | None, finish: Finish | None = None, chosen: Sequence[ChosenToken] = ()
    ) -> CompletionChoice:
        """One answer, or what one chunk adds to it."""
        text = part.text if isinstance(part, AnswerText) else ""
        logprobs = CompletionLogProbs.of(chosen)
        return CompletionChoice(index=index, text=text, logprobs=logprobs, finish_reason=finish)

    def shape(self, choices: list[CompletionChoice]) -> Completion:
        """A body or a chunk with these choices."""
        return Completion(
            id=self.head.id,
            object="text_completion",
            created=self.head.created,
            model=self.head.model,
            choices=choices,
        )
