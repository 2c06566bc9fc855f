"""What the bodies of OpenAI's chat and completions endpoints have in common."""

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, Tag

from slipway.contract.errors import InvalidRequest
from slipway.contract.generation import Grammar
from slipway.gateway.bounds import (
    MAX_BAD_WORDS,
    MAX_BIAS,
    MAX_BIASES,
    MAX_CHOICES,
    MAX_STOP_STRINGS,
    MAX_TOP_LOGPROBS,
)
from slipway.gateway.grammars.structure import ANY_OBJECT, choice_grammar, schema_grammar
from slipway.gateway.shapes.body import (
    FORMATS,
    Body,
    Ignored,
    JsonObjectFormat,
    NonEmpty,
    QueuedRequest,
    StopTokenIds,
    TextFormat,
    either,
    of_type,
    only,
    selected,
)

# JSON's keys are strings; so are the ids that are keys.
TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]


class StreamOptions(Body):
    """What a stream carries beside the text."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = Field(
        None, description="With include_usage, each chunk says how many tokens its answer took so far."
    )
    include_obfuscation: Ignored = None


class JsonSchema(Body):
    """A named schema. Answers always match it exactly, so `strict` changes nothing."""

    name: NonEmpty
    schema_: Annotated[dict[str, JsonValue], Field(alias="schema")]
    description: Ignored = None
    strict: Ignored = None


class JsonSchemaFormat(Body):
    """A JSON document that is valid under the schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[
    Annotated[TextFormat, Tag("(text)")]
    | Annotated[JsonObjectFormat, Tag("(json_object)")]
    | Annotated[JsonSchemaFormat, Tag("(json_schema)")],
    selected(of_type(*FORMATS), "must be an object whose type is text, json_object or json_schema"),
]


class StructuredOutputs(Body):
    """vLLM's ways to say what an answer must match. Exactly one of them must be given."""

    json_: (
        Annotated[
            Annotated[str, Tag("(string)")] | Annotated[dict[str, JsonValue], Tag("(object)")],
            selected(either(string=str, object=dict), "must be a JSON schema, as an object or a string"),
        ]
        | None
    ) = Field(None, alias="json", description="A JSON schema, as an object or as text.")
    regex: NonEmpty | None = Field(None, description="Rust's syntax; the whole answer matches it.")
    choice: Annotated[list[NonEmpty], Field(min_length=1)] | None = None
    grammar: NonEmpty | None = Field(None, description="Lark in llguidance's dialect, or GBNF.")
    json_object: bool | None = None

    def as_grammar(self) -> Grammar:
        """Raises InvalidRequest unless exactly one way is given."""
        ways = {
            "json": None if self.json_ is None else schema_grammar(self.json_),
            "regex": None if self.regex is None else Grammar("regex", self.regex),
            "choice": None if self.choice is None else choice_grammar(self.choice),
            "grammar": None if self.grammar is None else Grammar("ebnf_grammar", self.grammar),
            "json_object": ANY_OBJECT if self.json_object else None,
        }
        given = {name: way for name, way in ways.items() if way is not None}
        if len(given) != 1:
            raise InvalidRequest(
                f"structured_outputs has {' and '.join(given) or 'nothing'}; give one of {', '.join(ways)}.",
                "structured_outputs",
            )
        (way,) = given.values()
        return way


class GenerationBody(QueuedRequest):
    """The fields of both endpoints."""

    max_tokens: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Most tokens to generate; by default the model's, which /v1/models shows as "
        "default_max_tokens, or what the context leaves if that is less.",
    )
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        None, description="0 is greedy; default 1."
    )
    top_p: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="Keeps the likeliest tokens that together have this probability; 1 keeps all, 0 one.",
    )
    top_k: Annotated[int, Field(ge=-1)] | None = Field(
        None, description="Keeps this many of the likeliest tokens; 0 or -1 keeps all."
    )
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = Field(
        None, description="The same seed gives the same answer, under any load; by default one is drawn."
    )
    stop: (
        Annotated[
            Annotated[NonEmpty, Tag("(string)")]
            | Annotated[list[NonEmpty], Field(max_length=MAX_STOP_STRINGS), Tag("(list)")],
            selected(either(string=str, list=list), "must be a string or a list of strings"),
        ]
        | None
    ) = Field(
        None,
        description="The answer ends before the first of these that comes up in its text; one that is a "
        "special token ends it at the token.",
    )
    stop_token_ids: StopTokenIds | None = Field(
        None, description="As in vLLM: the answer ends before the first of these tokens."
    )
    bad_words: Annotated[list[NonEmpty], Field(max_length=MAX_BAD_WORDS)] | None = Field(
        None,
        description="As in vLLM: the answer has none of these as the tokenizer splits it, alone or behind a "
        "blank.",
    )
    include_stop_str_in_output: bool | None = Field(
        None, description="The answer ends with the stop string or token that was met, and not before it."
    )
    stream: bool | None = Field(None, description="Send the answer in chunks while it comes.")
    stream_options: StreamOptions | None = Field(
        None,
        description="With include_usage, the last chunk says how many tokens it took; with "
        "continuous_usage_stats too, as in vLLM, each chunk says it of its answer.",
    )
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = Field(
        None, description="Subtracted from the logits of tokens that the answer has; default 0."
    )
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = Field(
        None, description="Subtracted for each time the answer has the token; default 0."
    )
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = Field(
        None, description="Divides the logits of tokens in prompt and answer; default 1."
    )
    min_tokens: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Neither end-of-sequence nor a stop string ends the answer earlier; a grammar that is "
        "complete does.",
    )
    ignore_eos: bool | None = Field(None, description="Go on past end-of-sequence, to measure fixed lengths.")
    response_format: ResponseFormat | None = Field(
        None, description="What the answer is; JSON ends with its last bracket."
    )
    structured_outputs: StructuredOutputs | None = Field(
        None, description="As in vLLM, in place of response_format: a regex, a grammar, a choice."
    )

    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = Field(
        None, description="How many answers to each prompt; answer i has the seed `seed + i`; default 1."
    )
    best_of: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = Field(
        None,
        description="How many answers to generate; the n with the highest log-probability per token come "
        "back, and all count in usage; default n.",
    )
    min_p: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Keeps tokens at least this fraction as likely as the likeliest; 0 keeps all."
    )
    logit_bias: (
        Annotated[
            dict[TokenId, Annotated[float, Field(ge=-MAX_BIAS, le=MAX_BIAS)]], Field(max_length=MAX_BIASES)
        ]
        | None
    ) = Field(None, description="What is added to the logits of tokens, by their ids.")

    prompt_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = Field(
        None,
        description="As in vLLM: report the log-probability and the rank of each token of the prompt, and of "
        "this many of the likeliest tokens in its place; not in a stream.",
    )
    truncate_prompt_tokens: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Read only this many of the prompt's last tokens, as in vLLM."
    )
    skip_special_tokens: Annotated[
        JsonValue, only(True, advice="an answer is text without special tokens; leave it out")
    ] = None
    user: Ignored = None
    metadata: Ignored = None

    def query_fields(self) -> dict[str, Any]:
        """The fields of a `Query` that both endpoints set.

        Raises InvalidRequest where fields contradict each other.
        """
        options = self.stream_options or StreamOptions.model_construct()
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("stream_options needs stream: true.", "stream_options")
        if options.continuous_usage_stats and not options.include_usage:
            raise InvalidRequest(
                "stream_options.continuous_usage_stats needs include_usage: true.",
                "stream_options.continuous_usage_stats",
            )
        if self.prompt_logprobs is not None and self.stream:
            raise InvalidRequest(
                "prompt_logprobs is given and stream is true, but chunks have no place for them; leave one "
                "of them out.",
                "prompt_logprobs",
            )
        self._check_best_of()
        names = "model stream priority timeout n best_of seed temperature top_p top_k min_p max_tokens"
        names += " min_tokens truncate_prompt_tokens prompt_logprobs"
        names += " presence_penalty frequency_penalty repetition_penalty ignore_eos"
        return {
            **self.given(*names.split(), include_stop="include_stop_str_in_output"),
            "bad_words": tuple(self.bad_words or ()),
            "stop": (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            "stop_token_ids": tuple(self.stop_token_ids or ()),
            "logit_bias": {int(token): value for token, value in (self.logit_bias or {}).items()},
            "include_usage": bool(options.include_usage),
            "continuous_usage": bool(options.continuous_usage_stats),
            "grammar": self._grammar(),
            "ignored": self.unused(),
            "source": {} if self.structured_outputs is None else {"response_format": "structured_outputs"},
        }

    def _check_best_of(self) -> None:
        n = self.n or 1
        if self.best_of is None:
            return
        if self.best_of < n:
            raise InvalidRequest(
                f"best_of is {self.best_of}, but n is {n}: the answers are chosen among best_of; give at "
                "least n.",
                "best_of",
            )
        if self.best_of > n and self.stream:
            raise InvalidRequest(
                f"best_of is {self.best_of} and stream is true, but which answers are the best is known at "
                f"their end; leave out stream, or ask for all of them with n: {self.best_of}.",
                "best_of",
            )

    def _grammar(self) -> Grammar | None:
        asked: Grammar | None = None
        match self.response_format:
            case JsonObjectFormat():
                asked = ANY_OBJECT
            case JsonSchemaFormat(json_schema=named):
                asked = schema_grammar(named.schema_)
        if self.structured_outputs is None:
            return asked
        if asked is not None:
            raise InvalidRequest(
                "response_format and structured_outputs both say what the answer must be; give one of them.",
                "structured_outputs",
            )
        return self.structured_outputs.as_grammar()
