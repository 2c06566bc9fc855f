"""Tools as a chat's body offers them, and the calls of earlier answers."""

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, Tag

from slipway.gateway.query import Tool
from slipway.gateway.shapes.body import Body, Ignored, NonEmpty, ToolName, only, selected


class FunctionDefinition(Body):
    """A tool: what it is for, and a JSON schema of the object that a call passes."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: Annotated[
        bool | None,
        Field(description="Arguments always match the schema where tool_choice enforces the call."),
    ] = None


class ChatTool(Body):
    """A tool of the client's."""

    type: Annotated[JsonValue, only("function", advice="tools are functions here")]
    function: FunctionDefinition

    def tool(self, source: str) -> Tool:
        """As a query has it. source: the client's field that has this tool."""
        function = self.function
        return Tool(
            function.name, function.description, function.parameters, function.strict, f"{source}.function"
        )


class NamedFunction(Body):
    """A tool by its name."""

    name: ToolName


class NamedChoice(Body):
    """The one tool that the answer must call."""

    type: Literal["function"]
    function: NamedFunction


def _kind(value: Any) -> str | None:
    if isinstance(value, dict):
        return "(named)"
    return "(mode)" if value in ("none", "auto", "required") else None


ChatToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("(mode)")] | Annotated[NamedChoice, Tag("(named)")],
    selected(_kind, "must be none, auto, required or an object that names a function"),
]


class CalledFunction(Body):
    """arguments: a JSON object, as text. parsed_arguments: what OpenAI's client read in it."""

    name: NonEmpty
    arguments: str
    parsed_arguments: Ignored = None


class EarlierCall(Body):
    """A call that the model made, as the client sends it back."""

    id: NonEmpty
    type: Literal["function"]
    function: CalledFunction
    index: Ignored = None
