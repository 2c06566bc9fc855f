"""The answers of POST /v1/completions: one body, or a stream of chunks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from slipway.contract.generation import PromptLogProbs
from slipway.gateway.answers.answer import Answer, Piece
from slipway.gateway.answers.interpretation import Finish
from slipway.gateway.answers.log_probs import ChosenToken
from slipway.gateway.answers.prompt_tokens import PromptTokens
from slipway.gateway.shapes.chunks import Chunks
from slipway.gateway.shapes.log_probs import (
    NO_SCORES,
    CompletionLogProbs,
    PromptLogProbList,
    prompt_log_probs,
)
from slipway.gateway.shapes.usage import Usage
from slipway.text.parts import AnswerText, Part


class CompletionChoice(BaseModel):
    """One answer of a plain completion, or what one chunk adds to it."""

    index: int
    text: str
    logprobs: CompletionLogProbs | None
    finish_reason: Finish | None
    prompt_logprobs: PromptLogProbList | None = None


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
    tokens: of the prompt of each answer, where their log-probabilities are reported; else empty.
    echoed_logprobs, prompt_logprobs: how many of the likeliest tokens to report with each token of a prompt,
        in OpenAI's shape and in vLLM's; None reports nothing.
    n: the number of answers to each prompt. The first of them has the prompt's log-probabilities.
    """

    echoes: Sequence[str] = ()
    tokens: Sequence[PromptTokens] = ()
    echoed_logprobs: int | None = None
    prompt_logprobs: int | None = None
    n: int = 1
    _scores: dict[int, PromptLogProbs | None] = field(default_factory=dict, init=False)
    _echoed: set[int] = field(default_factory=set, init=False)
    _held: list[Piece] = field(default_factory=list, init=False)

    def body(self, answers: Sequence[Answer], usage: Usage) -> Completion:
        """The body of answers that are not streamed."""
        choices = [self._whole(index, answer) for index, answer in enumerate(answers)]
        return self.shape(choices).model_copy(update={"usage": usage})

    def opening(self, count: int) -> bytes:
        """The prompts, where they are echoed and need not wait for their log-probabilities."""
        if self.echoed_logprobs is not None:
            return b""
        return b"".join(
            self.chunk([self.choice(index, AnswerText(echo))], self.so_far(index))
            for index, echo in enumerate(self.echoes)
        )

    def piece(self, piece: Piece) -> bytes:
        """The chunks of a piece. Those of the prompt come first, so pieces wait for its log-probabilities."""
        if self.echoed_logprobs is None:
            return Chunks.piece(self, piece)
        if piece.index % self.n == 0:
            self._scores.setdefault(piece.index, piece.prompt)
        pieces, self._held = [*self._held, piece], []
        events = []
        for each in pieces:
            leader = each.index - each.index % self.n
            if leader not in self._scores:
                self._held.append(each)
                continue
            if each.index not in self._echoed:
                self._echoed.add(each.index)
                events.append(self._echo(each.index, self._scores[leader]))
            events.append(Chunks.piece(self, each))
        return b"".join(events)

    def _whole(self, index: int, answer: Answer) -> CompletionChoice:
        scores = answer.prompt or NO_SCORES
        echo = self.echoes[index] if self.echoes else ""
        choice = self.choice(index, AnswerText(echo + answer.text), answer.finish_reason, answer.chosen)
        added: dict[str, Any] = {}
        if self.echoed_logprobs is not None:
            of_prompt = CompletionLogProbs.of_prompt(self.tokens[index], scores, self.echoed_logprobs)
            added["logprobs"] = of_prompt.before(choice.logprobs)
        if self.prompt_logprobs is not None:
            added["prompt_logprobs"] = prompt_log_probs(self.tokens[index], scores, self.prompt_logprobs)
        return choice.model_copy(update=added)

    def _echo(self, index: int, scores: PromptLogProbs | None) -> bytes:
        """The chunk of a prompt with its log-probabilities."""
        choice = self.choice(index, AnswerText(self.echoes[index]))
        logprobs = CompletionLogProbs.of_prompt(
            self.tokens[index], scores or NO_SCORES, self.echoed_logprobs or 0
        )
        return self.chunk([choice.model_copy(update={"logprobs": logprobs})], self.so_far(index))

    def choice(
        self, index: int, part: Part | None, finish: Finish | None = None, chosen: Sequence[ChosenToken] = ()
    ) -> CompletionChoice:
        """One answer, or what one chunk adds to it."""
        text = part.text if isinstance(part, AnswerText) else ""
        logprobs = CompletionLogProbs.of(chosen, len(self.echoes[index]) if self.echoes else 0)
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
