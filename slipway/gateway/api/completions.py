"""POST /v1/completions: its body, its answers, its events; read and filled in by `gateway.app`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, JsonValue, Tag

from slipway.gateway.answers.answer import Finish, Piece, Whole
from slipway.gateway.api.body import GenerationBody, only
from slipway.gateway.api.chunks import Chunks
from slipway.gateway.api.reply import TextEvent, event, only_text
from slipway.gateway.api.token_log_probs import CompletionLogProbs
from slipway.gateway.api.usage import Usage
from slipway.gateway.bounds import MAX_CHOICES, MAX_TOP_LOGPROBS
from slipway.text.parts import AnswerText


def _prompt(value: Any) -> str | None:
    match value:
        case str():
            return "(string)"
        case [] | [str(), *_]:
            return "(strings)"
        case [int(), *_]:
            return "(ids)"
        case [list(), *_]:
            return "(lists)"
    return None


_Ids = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, fail_fast=True)]


class CompletionRequest(GenerationBody):
    """The body of POST /v1/completions."""

    prompt: Annotated[
        Annotated[str, Tag("(string)")]
        | Annotated[list[str], Field(min_length=1, max_length=MAX_CHOICES), Tag("(strings)")]
        | Annotated[_Ids, Tag("(ids)")]
        | Annotated[list[_Ids], Field(max_length=MAX_CHOICES), Tag("(lists)")],
        Discriminator(
            _prompt,
            custom_error_type="prompt_type",
            custom_error_message="must be a string or a list of strings, of token ids, or of lists of these",
        ),
    ] = Field(
        description="One prompt or several, as text or as token ids. Each gets n answers: those to the first "
        "come first."
    )
    add_special_tokens: bool | None = Field(
        None, description="Put before the text what the tokenizer puts there (BOS, as a rule); default true."
    )

    best_of: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = Field(
        None,
        description="How many answers to generate; the n with the highest log-probability per token come "
        "back, and all count in usage; default n.",
    )
    echo: bool | None = Field(None, description="Each answer begins with its prompt.")
    suffix: Annotated[
        JsonValue, only("", advice="models here go on from a prompt and fill in no gap; leave it out")
    ] = None
    logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = Field(
        None,
        description="Tell the log-probability of each token of the answer, and so many of the likeliest "
        "tokens in its place.",
    )

    @cached_property
    def prompts(self) -> Sequence[str | Sequence[int]]:
        """Each prompt, as text or as token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        ids = [each for each in self.prompt if isinstance(each, int)]
        return [ids] if ids else [each for each in self.prompt if not isinstance(each, int)]

    @property
    def likeliest(self) -> int | None:
        """See `GenerationBody.likeliest`."""
        return self.logprobs

    @property
    def candidates(self) -> int:
        """How many answers are generated, of which the client gets n."""
        return self.best_of or super().candidates

    @property
    def multiplier(self) -> str:
        """See `GenerationBody.multiplier`."""
        if len(self.prompts) > 1:
            return "prompt"
        return "n" if self.best_of is None else "best_of"


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

    echoes: what comes before each answer; none at all unless the client asked for it.
    """

    echoes: Sequence[str] = ()

    def whole(self, answers: Sequence[Whole], usage: Usage) -> Completion:
        """See `Reply.whole`."""
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
        """See `Reply.opening`: there is no role to tell, but the prompts where they are echoed."""
        return b"".join(
            self._event([self._choice(index, echo, None, None)], self.so_far(index))
            for index, echo in enumerate(self.echoes)
        )

    def piece(self, index: int, piece: Piece) -> bytes:
        """See `Reply.piece`."""
        usage, text = self.so_far(index, piece.tokens), only_text(piece)
        if text is not None and usage is None:
            return self.text(index, text)
        told: list[tuple[str, Finish | None]] = [
            (part.text, None) for part in piece.parts if isinstance(part, AnswerText)
        ]
        if piece.finish_reason is not None:
            told.append(("", piece.finish_reason))
        # All that the piece tells of its tokens goes with its first chunk.
        log_probs = [CompletionLogProbs.of(piece.chosen), *[None] * (len(told) - 1)]
        return b"".join(
            self._event([self._choice(index, text, finish, tokens)], usage)
            for (text, finish), tokens in zip(told, log_probs, strict=True)
        )

    def last(self, usage: Usage) -> bytes:
        """See `Chunks.last`."""
        return self._event([], usage)

    def place(self, index: int) -> bytes:
        """See `Chunks.place`."""
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
