"""Tools as a chat's body offers them, and calls as it gives them back; parts of `gateway.api.chat`."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, JsonValue, Tag

from slipway.gateway.api.body import Body, Ignored, NonEmpty, only

ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class FunctionDefinition(Body):
    """A tool: what it is for, and a JSON schema of the object that a call passes."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: Annotated[
        bool | None,
        Field(description="Arguments always hold to the schema where the call is enforced, by tool_choice."),
    ] = None


class Tool(Body):
    """A tool of the client's."""

    type: Annotated[JsonValue, only("function", advice="tools are functions here")]
    function: FunctionDefinition


class NamedFunction(Body):
    """A tool by its name."""

    name: ToolName


class NamedChoice(Body):
    """The one tool that is to be called."""

    type: Literal["function"]
    function: NamedFunction


def _kind(value: Any) -> str | None:
    if isinstance(value, dict):
        return "(named)"
    return "(mode)" if value in ("none", "auto", "required") else None


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("(mode)")] | Annotated[NamedChoice, Tag("(named)")],
    Discriminator(
        _kind,
        custom_error_type="tool_choice_type",
        custom_error_message="must be none, auto, required or an object that names a function",
    ),
]


class CalledFunction(Body):
    """arguments: a JSON object, as text. parsed_arguments: what OpenAI's client read in it."""

    name: NonEmpty
    arguments: str
    parsed_arguments: Ignored = None


class EarlierCall(Body):
    """A call that the model made, as the client gives it back."""

    id: NonEmpty
    type: Literal["function"]
    function: CalledFunction
    index: Ignored = None
