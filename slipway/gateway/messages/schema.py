"""The bodies of POST /v1/messages and /v1/messages/count_tokens."""

from typing import Annotated, Any, Literal

from pydantic import FailFast, Field, JsonValue

from slipway.contract.errors import InvalidRequest
from slipway.contract.generation import Grammar
from slipway.gateway.bounds import MAX_MESSAGES, MAX_STOP_STRINGS, MAX_TOOLS
from slipway.gateway.grammars.structure import schema_grammar
from slipway.gateway.messages.blocks import MessageParam, SystemText, joined, read_messages
from slipway.gateway.query import Conversation, Message, Query, Thinking, Tool, ToolMode
from slipway.gateway.shapes.body import (
    EFFORT,
    LEAVE_OUT,
    UNUSED,
    Body,
    Ignored,
    ModelRequest,
    NonEmpty,
    QueuedRequest,
    ToolName,
    only,
)


class ToolParam(Body):
    """A tool of the client's."""

    type: Annotated[
        JsonValue, only("custom", advice="tools that run on Anthropic's servers are not offered")
    ] = None
    name: ToolName
    description: str | None = None
    input_schema: dict[str, JsonValue]
    strict: bool | None = None
    cache_control: Ignored = None
    eager_input_streaming: Ignored = None
    allowed_callers: Annotated[JsonValue, only([], ["direct"], advice=LEAVE_OUT)] = None
    defer_loading: Annotated[JsonValue, only(False, advice=LEAVE_OUT)] = None
    input_examples: Annotated[JsonValue, only([], advice="not offered; put them in description")] = None


class ToolChoiceParam(Body):
    """name: only with the type `tool`."""

    type: Literal["auto", "any", "tool", "none"]
    name: ToolName | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingParam(Body):
    """Whether and how long the model thinks before it answers; `adaptive` leaves it to the model."""

    type: Literal["disabled", "adaptive", "enabled"]
    display: Ignored = None
    budget_tokens: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Most tokens of the thought, which is ended there."
    )


class OutputFormat(Body):
    """The answer is a JSON document that is valid under the schema."""

    type: Literal["json_schema"]
    schema_: Annotated[dict[str, JsonValue], Field(alias="schema")]


class OutputConfig(Body):
    """What the answer is like."""

    format: OutputFormat | None = None
    effort: Annotated[Literal["low", "medium", "high", "xhigh", "max"] | None, Field(description=EFFORT)] = (
        None
    )


class ContextEdit(Body):
    """What Anthropic's servers would take out of the conversation. Earlier thoughts are out of it here."""

    type: Annotated[
        JsonValue,
        only(
            "clear_thinking_20251015", advice="the server edits no conversation; send it as it is to be read"
        ),
    ]
    keep: Ignored = None


class ContextManagement(Body):
    """Claude Code sends it with every request."""

    edits: Annotated[list[ContextEdit] | None, UNUSED] = None


class CountTokensRequest(ModelRequest):
    """The body of POST /v1/messages/count_tokens: what a prompt is made of."""

    messages: Annotated[list[MessageParam], Field(min_length=1, max_length=MAX_MESSAGES), FailFast()]
    system: SystemText | None = None
    tools: Annotated[list[ToolParam], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoiceParam | None = None
    thinking: ThinkingParam | None = None
    output_config: OutputConfig | None = None
    mcp_servers: Annotated[JsonValue, only([], advice=LEAVE_OUT)] = None
    context_management: ContextManagement | None = None
    cache_control: Ignored = None
    speed: Annotated[JsonValue, only("standard", advice=LEAVE_OUT)] = None

    def query(self) -> Query:
        """What it asks for. Raises InvalidRequest where fields contradict each other."""
        return Query(**self._query_fields())

    def _query_fields(self) -> dict[str, Any]:
        messages = read_messages(self.messages)
        if self.system:
            messages.insert(0, Message("system", joined(self.system)))
        choice = self.tool_choice or ToolChoiceParam(type="auto")
        if (choice.type == "tool") != (choice.name is not None):
            wrong = "is missing" if choice.name is None else "is only for the type tool; leave it out"
            raise InvalidRequest(f"tool_choice.name {wrong}.", "tool_choice.name")
        modes: dict[str, ToolMode] = {"auto": "auto", "any": "required", "none": "none", "tool": "required"}
        conversation = Conversation(
            messages=tuple(messages),
            tools=tuple(
                Tool(tool.name, tool.description, tool.input_schema, tool.strict, f"tools[{index}]")
                for index, tool in enumerate(self.tools or ())
            ),
            tool_choice=modes[choice.type],
            only_tool=choice.name,
            parallel_calls=not choice.disable_parallel_tool_use,
            thinking=self._thinking(),
            # The beginning of the answer, which Anthropic's API continues.
            continue_last=bool(messages) and messages[-1].role == "assistant",
        )
        source = {
            "stop": "stop_sequences",
            "response_format": "output_config.format",
            "continue_final_message": f"messages[{len(self.messages) - 1}]",
            "reasoning_effort": "thinking.type" if self._disabled else "output_config.effort",
            "thinking_budget": "thinking.budget_tokens",
        }
        grammar: Grammar | None = None
        if self.output_config is not None and self.output_config.format is not None:
            grammar = schema_grammar(self.output_config.format.schema_)
        return {
            "model": self.model,
            "prompt": conversation,
            "grammar": grammar,
            "source": source,
            "ignored": self.unused(),
        }

    @property
    def _disabled(self) -> bool:
        return self.thinking is not None and self.thinking.type == "disabled"

    def _thinking(self) -> Thinking:
        if self._disabled:
            return Thinking("none")
        return Thinking(
            self.output_config.effort if self.output_config else None,
            self.thinking.budget_tokens if self.thinking else None,
        )


class MessagesRequest(CountTokensRequest, QueuedRequest):
    """The body of POST /v1/messages."""

    max_tokens: Annotated[int, Field(ge=1)] = Field(
        description="Most tokens to generate; where the context leaves fewer, the answer ends with it."
    )
    temperature: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="0 is greedy; default 1."
    )
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = Field(None, description="0 keeps all tokens.")
    stop_sequences: Annotated[list[NonEmpty], Field(max_length=MAX_STOP_STRINGS)] | None = None
    stream: bool | None = None
    container: Annotated[JsonValue, only(advice=LEAVE_OUT)] = None
    thread: Annotated[JsonValue, only(advice="conversations are not kept; send all messages")] = None

    metadata: Ignored = None
    service_tier: Ignored = None
    inference_geo: Ignored = None
    diagnostics: Ignored = None

    def _query_fields(self) -> dict[str, Any]:
        names = ("max_tokens", "temperature", "top_p", "top_k", "stream", "priority", "timeout")
        return (
            super()._query_fields()
            | self.given(*names)
            | {
                "stop": tuple(self.stop_sequences or ()),
                "fit_context": True,
            }
        )
