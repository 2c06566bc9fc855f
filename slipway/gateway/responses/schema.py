"""The body of POST /v1/responses."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, JsonValue, Tag

from slipway.contract.generation import Grammar
from slipway.gateway.bounds import MAX_TOOLS
from slipway.gateway.grammars.structure import ANY_OBJECT, schema_grammar
from slipway.gateway.query import Conversation, Effort, Message, Query, Thinking, ToolMode
from slipway.gateway.responses.items import Items, item_messages
from slipway.gateway.responses.tools import ResponseTool, query_tools, unused_tools
from slipway.gateway.shapes.body import (
    EFFORT,
    FORMATS,
    LEAVE_OUT,
    UNUSED,
    Body,
    Ignored,
    JsonObjectFormat,
    NonEmpty,
    QueuedRequest,
    StopTokenIds,
    TextFormat,
    ToolName,
    Verbosity,
    either,
    of_type,
    only,
    selected,
)

Summary = Literal["auto", "concise", "detailed"]


class NamedSchemaFormat(Body):
    """A JSON document that is valid under the schema."""

    type: Literal["json_schema"]
    name: NonEmpty
    schema_: Annotated[dict[str, JsonValue], Field(alias="schema")]
    description: Ignored = None
    strict: Ignored = None


class TextConfig(Body):
    """What the text of the answer is."""

    format: (
        Annotated[
            Annotated[TextFormat, Tag("(text)")]
            | Annotated[JsonObjectFormat, Tag("(json_object)")]
            | Annotated[NamedSchemaFormat, Tag("(json_schema)")],
            selected(of_type(*FORMATS), "must be an object whose type is text, json_object or json_schema"),
        ]
        | None
    ) = None
    verbosity: Annotated[Verbosity | None, UNUSED] = None


class NamedTool(Body):
    """The one tool to call."""

    type: Annotated[JsonValue, only("function", advice="only functions can be chosen")]
    name: ToolName


class Reasoning(Body):
    """How the model thinks before it answers. Thoughts come as they are, without a summary."""

    effort: Annotated[Effort | None, Field(description=EFFORT)] = None
    summary: Annotated[Summary | None, UNUSED] = None
    generate_summary: Annotated[Summary | None, UNUSED] = None


class ResponseStreamOptions(Body):
    """What a stream carries beside the text."""

    include_obfuscation: Ignored = None


class ResponsesRequest(QueuedRequest):
    """The body of POST /v1/responses."""

    input: Annotated[
        Annotated[NonEmpty, Tag("(string)")] | Annotated[Items, Tag("(list)")],
        selected(either(string=str, list=list), "must be a string or a list of items"),
    ]
    instructions: str | None = Field(
        None, description="A system message before the input; not carried on by previous_response_id."
    )
    previous_response_id: NonEmpty | None = Field(
        None, description="Go on from a response that this server still keeps."
    )
    store: bool | None = Field(None, description="Keep the response for a while, in memory; default true.")
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        None, description="0 is greedy; default 1."
    )
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    stop_token_ids: StopTokenIds | None = Field(
        None, description="As in vLLM: the answer ends before the first of these tokens."
    )
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    text: TextConfig | None = None
    tools: Annotated[list[ResponseTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: (
        Annotated[
            Annotated[Literal["auto", "none", "required"], Tag("(string)")]
            | Annotated[NamedTool, Tag("(object)")],
            selected(
                either(string=str, object=dict),
                "must be auto, none, required or an object that names a function",
            ),
        ]
        | None
    ) = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    metadata: dict[str, str] | None = Field(None, description="Given back with the response.")
    user: str | None = Field(None, description="Given back with the response.")

    truncation: Annotated[Literal["auto", "disabled"] | None, UNUSED] = Field(
        None, description="Accepted; a conversation that does not fit is refused, never cut."
    )
    background: Annotated[JsonValue, only(False, advice="not offered; stream the response instead")] = None
    include: Annotated[
        JsonValue,
        only([], ["reasoning.encrypted_content"], advice="only reasoning.encrypted_content is accepted"),
        UNUSED,
    ] = None
    top_logprobs: Annotated[JsonValue, only(0, advice="ask /v1/chat/completions for log-probabilities")] = (
        None
    )
    conversation: Annotated[JsonValue, only(advice="not offered; use previous_response_id")] = None
    prompt: Annotated[JsonValue, only(advice="not offered; write it into input")] = None
    max_tool_calls: Annotated[JsonValue, only(advice=LEAVE_OUT)] = None
    context_management: Annotated[JsonValue, only([], advice=LEAVE_OUT)] = None
    moderation: Annotated[JsonValue, only(advice=LEAVE_OUT)] = None

    client_metadata: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    safety_identifier: Ignored = None
    service_tier: Ignored = None

    def said(self) -> tuple[Message, ...]:
        """The messages that this request adds to the conversation."""
        if isinstance(self.input, str):
            return (Message("user", self.input),)
        return item_messages(self.input)

    def query(self, earlier: Sequence[Message], said: Sequence[Message]) -> Query:
        """What it asks for. earlier: the messages up to the response that it continues."""
        system = [Message("system", self.instructions)] if self.instructions else []
        choice = self.tool_choice or "auto"
        mode: ToolMode = "required" if isinstance(choice, NamedTool) else choice
        conversation = Conversation(
            messages=(*system, *earlier, *said),
            tools=query_tools(self.tools or ()),
            tool_choice=mode,
            only_tool=choice.name if isinstance(choice, NamedTool) else None,
            parallel_calls=self.parallel_tool_calls is not False,
            thinking=Thinking(self.reasoning.effort if self.reasoning else None),
        )
        fields = self.given("model", "temperature", "top_p", "stream", "priority", "timeout")
        return Query(
            prompt=conversation,
            max_tokens=self.max_output_tokens,
            stop_token_ids=tuple(self.stop_token_ids or ()),
            grammar=self._grammar(),
            source={
                "messages": "input",
                "max_tokens": "max_output_tokens",
                "response_format": "text.format",
                "reasoning_effort": "reasoning.effort",
            },
            ignored=(*self.unused(), *unused_tools(self.tools or ())),
            **fields,
        )

    def _grammar(self) -> Grammar | None:
        match self.text and self.text.format:
            case JsonObjectFormat():
                return ANY_OBJECT
            case NamedSchemaFormat(schema_=schema):
                return schema_grammar(schema)
        return None
