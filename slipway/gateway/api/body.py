"""What the bodies of OpenAI's endpoints have in common; `gateway.validation` reads them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    Tag,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from slipway.gateway.bounds import MAX_BIAS, MAX_BIASES, MAX_CHOICES, MAX_STOP_STRINGS


# Without equality: `typing` would take a field that allows False for one that allows 0.
@dataclass(frozen=True, slots=True, eq=False)
class Only:
    """Accepts null and the values that ask for nothing; `advice` says what to do instead of the others."""

    neutral: tuple[JsonValue, ...]
    advice: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read by pydantic, because this stands among a field's annotations."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """What the documentation says of the field."""
        return {"enum": [None, *self.neutral], "description": f"Not offered: {self.advice}."}

    def _check(self, value: JsonValue) -> JsonValue:
        for allowed in self.neutral:
            if value == allowed and isinstance(value, bool) == isinstance(allowed, bool):
                return value
        if value is None:
            return value
        raise PydanticCustomError("not_offered", "{advice}", {"advice": self.advice})


def only(*neutral: JsonValue, advice: str) -> Only:
    """See `Only`."""
    return Only(neutral, advice)


def either(**kinds: type) -> Callable[[Any], str | None]:
    """Choose a union member by the JSON type; the tag's parentheses keep it out of `param`."""

    def choose(value: Any) -> str | None:
        return next((f"({name})" for name, kind in kinds.items() if isinstance(value, kind)), None)

    return choose


LEAVE_OUT = "not offered; leave it out"
TEXT_ONLY = "this server reads and writes text only"

# JSON's keys are strings; so are the ids that are keys.
TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
IGNORED = "Accepted; it does not change the answer."
Ignored = Annotated[JsonValue, Field(description=IGNORED)]
NonEmpty = Annotated[str, Field(min_length=1)]


class Body(BaseModel):
    """A part of a request: numbers are numbers, and a field that is not listed is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class StreamOptions(Body):
    """What a stream carries beside the text."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = Field(
        None, description="With include_usage, each chunk says how many tokens its answer took so far."
    )
    include_obfuscation: Ignored = None


class TextFormat(Body):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(Body):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchema(Body):
    """A named schema. It always holds to the letter, so `strict` changes nothing."""

    name: NonEmpty
    schema_: Annotated[dict[str, JsonValue], Field(alias="schema")]
    description: Ignored = None
    strict: Ignored = None


class JsonSchemaFormat(Body):
    """A JSON document that is valid under the schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


def of_type(*kinds: str, default: str | None = None) -> Callable[[Any], str | None]:
    """Choose a union member by the field `type`; `default` where it is left out."""

    def choose(value: Any) -> str | None:
        kind = value.get("type", default) if isinstance(value, dict) else None
        return f"({kind})" if kind in kinds else None

    return choose


FORMATS = ("text", "json_object", "json_schema")


ResponseFormat = Annotated[
    Annotated[TextFormat, Tag("(text)")]
    | Annotated[JsonObjectFormat, Tag("(json_object)")]
    | Annotated[JsonSchemaFormat, Tag("(json_schema)")],
    Discriminator(
        of_type(*FORMATS),
        custom_error_type="response_format_type",
        custom_error_message="must be an object whose type is text, json_object or json_schema",
    ),
]


class StructuredOutputs(Body):
    """vLLM's ways to say what an answer must match; one of them is given."""

    json_: (
        Annotated[
            Annotated[str, Tag("(string)")] | Annotated[dict[str, JsonValue], Tag("(object)")],
            Discriminator(
                either(string=str, object=dict),
                custom_error_type="json_schema_type",
                custom_error_message="must be a JSON schema, as an object or a string",
            ),
        ]
        | None
    ) = Field(None, alias="json", description="A JSON schema, as an object or as text.")
    regex: NonEmpty | None = Field(None, description="Rust's syntax; the whole answer matches it.")
    choice: Annotated[list[NonEmpty], Field(min_length=1)] | None = None
    grammar: NonEmpty | None = Field(None, description="Lark in llguidance's dialect, or GBNF.")
    json_object: bool | None = None


class Addressed(Body):
    """A request to one model."""

    model: NonEmpty = Field(description="One of those that /v1/models lists.")


class Waiting(Addressed):
    """A request that waits for its turn at the engine. vLLM has `priority` too; `timeout` is our own."""

    priority: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = Field(
        None, description="Where answers wait for the engine, lower ones go first; default 0."
    )
    timeout: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Seconds from the request's arrival to the end of its answer; then it is an error."
    )


class GenerationBody(Waiting):
    """What chat and plain completions have in common."""

    max_tokens: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Most tokens to generate; by default what the context leaves."
    )
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        None, description="0 is greedy; default 1."
    )
    top_p: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="Keeps the likeliest tokens that together have this probability; 1 keeps all, 0 one.",
    )
    top_k: Annotated[int, Field(ge=-1)] | None = Field(
        None, description="Keeps so many of the likeliest tokens; 0 or -1 keeps all."
    )
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = Field(
        None, description="The same seed gives the same answer, whoever else asks; by default one is drawn."
    )
    stop: (
        Annotated[
            Annotated[NonEmpty, Tag("(string)")]
            | Annotated[list[NonEmpty], Field(max_length=MAX_STOP_STRINGS), Tag("(list)")],
            Discriminator(
                either(string=str, list=list),
                custom_error_type="stop_type",
                custom_error_message="must be a string or a list of strings",
            ),
        ]
        | None
    ) = Field(None, description="The answer ends before the first of these that comes up in its text.")
    include_stop_str_in_output: bool | None = Field(
        None, description="The answer ends with the stop string that was met, and not before it."
    )
    stream: bool | None = Field(None, description="Send the answer in chunks while it comes.")
    stream_options: StreamOptions | None = Field(
        None,
        description="With include_usage, the last chunk says how many tokens it took; with "
        "continuous_usage_stats too, as in vLLM, each chunk says it of its answer.",
    )
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = Field(
        None, description="Taken off the logits of tokens that the answer has; default 0."
    )
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = Field(
        None, description="Taken off for each time the answer has the token; default 0."
    )
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = Field(
        None, description="Divides the logits of tokens in prompt and answer; default 1."
    )
    min_tokens: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Neither end-of-sequence nor a stop string ends the answer earlier; a grammar that has "
        "no more for it does.",
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
    min_p: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Keeps tokens at least this fraction as likely as the likeliest; 0 keeps all."
    )
    logit_bias: (
        Annotated[
            dict[TokenId, Annotated[float, Field(ge=-MAX_BIAS, le=MAX_BIAS)]], Field(max_length=MAX_BIASES)
        ]
        | None
    ) = Field(None, description="What is added to the logits of tokens, by their ids.")

    user: Ignored = None
    metadata: Ignored = None

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def with_running_usage(self) -> bool:
        """Whether each chunk of a stream says the usage so far."""
        return self.stream_options is not None and bool(self.stream_options.continuous_usage_stats)

    @property
    def candidates(self) -> int:
        """How many answers are generated to a prompt."""
        return self.n or 1

    @property
    def multiplier(self) -> str:
        """The field that makes one request several answers."""
        return "n"

    @property
    def likeliest(self) -> int | None:
        """How many of the likeliest tokens are told with each token; None where none is told at all."""
        return None
