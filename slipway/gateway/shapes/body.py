"""What request bodies are made of: the base class, fields that are not offered, choices between types."""

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
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from slipway.gateway.bounds import MAX_STOP_TOKENS

LEAVE_OUT = "not offered; leave it out"
TEXT_ONLY = "this server reads and writes text only"
IGNORED = "Accepted; it does not change the answer."
EFFORT = (
    "How much the model thinks, where its chat template can say it; none ends the thought before it begins. "
    "What has no effect is named in `x-slipway-ignored`."
)
Verbosity = Literal["low", "medium", "high"]
FORMATS = ("text", "json_object", "json_schema")

NonEmpty = Annotated[str, Field(min_length=1)]
StopTokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=MAX_STOP_TOKENS)]
ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]


# Both are without equality, because `typing` would take a field that allows False for one that allows 0.
@dataclass(frozen=True, slots=True, eq=False)
class Unused:
    """A field that is accepted and has no effect. A response names it in the header `x-slipway-ignored`."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """What the OpenAPI document says of the field."""
        return {**handler(schema), "description": IGNORED}


UNUSED = Unused()
Ignored = Annotated[JsonValue, UNUSED]


@dataclass(frozen=True, slots=True, eq=False)
class Only:
    """A field that accepts null and the values that ask for nothing.

    advice: what to do instead of sending another value.
    """

    neutral: tuple[JsonValue, ...]
    advice: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """How pydantic validates a field with this annotation."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """What the OpenAPI document says of the field."""
        return {"enum": [None, *self.neutral], "description": f"Not offered: {self.advice}."}

    def _check(self, value: JsonValue) -> JsonValue:
        for allowed in self.neutral:
            if value == allowed and isinstance(value, bool) == isinstance(allowed, bool):
                return value
        if value is None:
            return value
        raise PydanticCustomError("not_offered", "{advice}", {"advice": self.advice})


def only(*neutral: JsonValue, advice: str) -> Only:
    """A field that accepts null and the values in `neutral`."""
    return Only(neutral, advice)


Selector = Callable[[Any], str | None]


def either(**kinds: type) -> Selector:
    """Select a union's member by the JSON type of the value.

    Tags are in parentheses, so that the `param` of an error can leave them out.
    """

    def select(value: Any) -> str | None:
        return next((f"({name})" for name, kind in kinds.items() if isinstance(value, kind)), None)

    return select


def of_type(*kinds: str, default: str | None = None) -> Selector:
    """Select a union's member by the field `type`; a value without that field has the type `default`."""

    def select(value: Any) -> str | None:
        kind = value.get("type", default) if isinstance(value, dict) else None
        return f"({kind})" if kind in kinds else None

    return select


def selected(by: Selector, otherwise: str) -> Discriminator:
    """A union whose member `by` selects. otherwise: the error where it selects none ("must be …")."""
    return Discriminator(by, custom_error_type="union_type", custom_error_message=otherwise)


class Body(BaseModel):
    """A part of a request: numbers are numbers, and a field that is not listed is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def given(self, *names: str, **renamed: str) -> dict[str, Any]:
        """The values of the fields that the client set, by name; renamed: other names for fields."""
        fields = {**{name: name for name in names}, **renamed}
        values = {name: getattr(self, field) for name, field in fields.items()}
        return {name: value for name, value in values.items() if value is not None}

    def unused(self) -> tuple[str, ...]:
        """The names of the client's fields that have no effect: here and in objects below, not in lists."""
        names: list[str] = []
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Body):
                names += (f"{info.alias or name}.{below}" for below in value.unused())
            elif UNUSED in info.metadata and value not in (None, [], {}):
                names.append(info.alias or name)
        return tuple(names)


class TextFormat(Body):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(Body):
    """Any JSON object."""

    type: Literal["json_object"]


class ModelRequest(Body):
    """A request to one model."""

    model: NonEmpty = Field(description="One of the models that /v1/models lists.")


class QueuedRequest(ModelRequest):
    """A request that waits in the engine's queue. vLLM has `priority` too; `timeout` is Slipway's own."""

    priority: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = Field(
        None, description="Answers with a lower priority leave the queue first; default 0."
    )
    timeout: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Seconds from the request's arrival to the end of its answer; then it is an error."
    )
