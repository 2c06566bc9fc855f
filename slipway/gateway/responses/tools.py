"""The tools of a response, and the one name that each function has for the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue, Tag

from slipway.contract.errors import InvalidRequest
from slipway.gateway.bounds import MAX_TOOLS
from slipway.gateway.query import Tool
from slipway.gateway.shapes.body import LEAVE_OUT, Body, ToolName, of_type, only, selected

_SEPARATOR = "__"
_WEB_SEARCH = ("web_search", "web_search_2025_08_26", "web_search_preview")
_KINDS = ("function", "namespace", *_WEB_SEARCH)


class FunctionTool(Body):
    """A tool of the client's."""

    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: bool | None = None
    defer_loading: Annotated[JsonValue, only(False, advice=LEAVE_OUT)] = None
    allowed_callers: Annotated[JsonValue, only([], ["direct"], advice=LEAVE_OUT)] = None
    output_schema: Annotated[JsonValue, only(advice="not offered; put it in description")] = None
    async_: Annotated[JsonValue, only(False, advice=LEAVE_OUT), Field(alias="async")] = None

    @property
    def shown(self) -> dict[str, JsonValue]:
        """As a response has it."""
        return self.model_dump(include={"type", "name", "description", "parameters", "strict"})


class NamespaceTool(Body):
    """Functions under a name of their own. Codex makes one of each MCP server."""

    type: Literal["namespace"]
    name: ToolName
    description: str | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)]

    @property
    def shown(self) -> dict[str, JsonValue]:
        """As a response has it."""
        functions: list[JsonValue] = [tool.shown for tool in self.tools]
        return {**self.model_dump(include={"type", "name", "description"}), "tools": functions}


class WebSearchTool(Body):
    """A search on OpenAI's servers, which the model here cannot call. Its settings are not read."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["web_search", "web_search_2025_08_26", "web_search_preview"]


ResponseTool = Annotated[
    Annotated[FunctionTool, Tag("(function)")]
    | Annotated[NamespaceTool, Tag("(namespace)")]
    | Annotated[WebSearchTool, Tag("(web_search)")],
    selected(
        lambda tool: "(web_search)" if of_type(*_WEB_SEARCH)(tool) else of_type(*_KINDS)(tool),
        "must be a tool of type function or namespace; tools that run on OpenAI's servers are not offered",
    ),
]


@dataclass(frozen=True, slots=True)
class CalledFunction:
    """A function as the client calls it."""

    name: str
    namespace: str | None = None

    @property
    def flat(self) -> str:
        """The name that the model reads and writes."""
        if self.namespace is None:
            return self.name
        return f"{self.namespace.removesuffix(_SEPARATOR)}{_SEPARATOR}{self.name}"


def query_tools(tools: Sequence[ResponseTool]) -> tuple[Tool, ...]:
    """The functions, as a query has them. Raises InvalidRequest where there are too many."""
    found = tuple(
        Tool(function.flat, tool.description, tool.parameters, tool.strict, source)
        for function, tool, source in _functions(tools)
    )
    if len(found) > MAX_TOOLS:
        raise InvalidRequest(f"tools has {len(found)} functions in all; the most is {MAX_TOOLS}.", "tools")
    return found


def functions_by_name(tools: Sequence[ResponseTool]) -> Mapping[str, CalledFunction]:
    """The functions by the names that the model writes."""
    return {function.flat: function for function, _, _ in _functions(tools)}


def shown_tools(tools: Sequence[ResponseTool]) -> list[JsonValue]:
    """The tools that the model may call, as a response has them."""
    return [tool.shown for tool in tools if not isinstance(tool, WebSearchTool)]


def unused_tools(tools: Sequence[ResponseTool]) -> tuple[str, ...]:
    """What of the field `tools` the model does not read."""
    names: list[str] = []
    for index, tool in enumerate(tools):
        match tool:
            case WebSearchTool():
                names.append(f"tools[{index}]")
            case NamespaceTool(description=str()):
                names.append(f"tools[{index}].description")
    return tuple(names)


def _functions(tools: Sequence[ResponseTool]) -> list[tuple[CalledFunction, FunctionTool, str]]:
    """Each function with the client's field that has it."""
    found = []
    for index, tool in enumerate(tools):
        source = f"tools[{index}]"
        match tool:
            case FunctionTool():
                found.append((CalledFunction(tool.name), tool, source))
            case NamespaceTool():
                found += [
                    (CalledFunction(each.name, tool.name), each, f"{source}.tools[{at}]")
                    for at, each in enumerate(tool.tools)
                ]
    return found
