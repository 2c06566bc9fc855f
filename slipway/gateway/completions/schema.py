"""The body of POST /v1/completions."""

from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, JsonValue, Tag

from slipway.contract.errors import InvalidRequest
from slipway.gateway.bounds import MAX_CHOICES, MAX_TOP_LOGPROBS
from slipway.gateway.query import Prompts, Query
from slipway.gateway.shapes.body import only, selected
from slipway.gateway.shapes.generation import GenerationBody

_Ids = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, fail_fast=True)]


def _kind(value: Any) -> str | None:
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


class CompletionRequest(GenerationBody):
    """The body of POST /v1/completions."""

    prompt: Annotated[
        Annotated[str, Tag("(string)")]
        | Annotated[list[str], Field(min_length=1, max_length=MAX_CHOICES), Tag("(strings)")]
        | Annotated[_Ids, Tag("(ids)")]
        | Annotated[list[_Ids], Field(max_length=MAX_CHOICES), Tag("(lists)")],
        selected(_kind, "must be a string or a list of strings, of token ids, or of lists of these"),
    ] = Field(
        description="One prompt or several, as text or as token ids. Each gets n answers: those to the first "
        "come first."
    )
    add_special_tokens: bool | None = Field(
        None, description="Put before the text what the tokenizer puts there (BOS, as a rule); default true."
    )

    max_tokens: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Most tokens to generate; by default the model's, which /v1/models shows as "
        "default_max_tokens, or what the context leaves if that is less. With 0 the prompt is read, and the "
        "answer is empty.",
    )
    echo: bool | None = Field(
        None, description="Each answer begins with its prompt; with logprobs, so do the log-probabilities."
    )
    suffix: Annotated[
        JsonValue, only("", advice="models here go on from a prompt and fill in no gap; leave it out")
    ] = None
    logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = Field(
        None,
        description="Report the log-probability of each token of the answer, and this many of the likeliest "
        "tokens in its place.",
    )

    def query(self) -> Query:
        """What it asks for. Raises InvalidRequest where fields contradict each other."""
        fields = self.query_fields()
        fields["source"]["top_logprobs"] = "logprobs"
        if self.echoed_logprobs is not None:
            fields["report_all"] = True
            fields["prompt_logprobs"] = max(self.echoed_logprobs, self.prompt_logprobs or 0)
            if self.prompt_logprobs is None:
                fields["source"]["prompt_logprobs"] = "echo"
        query = Query(
            prompt=Prompts(self.prompts, self.add_special_tokens is not False),
            logprobs=self.logprobs,
            **fields,
        )
        count = len(self.prompts)
        if count * query.candidates > MAX_CHOICES:
            raise InvalidRequest(
                f"prompt holds {count} prompts, each for {query.candidates} answers, but a request has "
                f"{MAX_CHOICES} answers at most; send several requests.",
                "prompt",
            )
        return query

    @property
    def echoed_logprobs(self) -> int | None:
        """How many of the likeliest tokens to report with each token of the echo; None reports nothing."""
        return self.logprobs if self.echo else None

    @cached_property
    def prompts(self) -> tuple[str | tuple[int, ...], ...]:
        """Each prompt, as text or as token ids."""
        if isinstance(self.prompt, str):
            return (self.prompt,)
        ids = tuple(each for each in self.prompt if isinstance(each, int))
        if ids:
            return (ids,)
        return tuple(
            each if isinstance(each, str) else tuple(each)
            for each in self.prompt
            if not isinstance(each, int)
        )
